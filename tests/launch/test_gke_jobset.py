"""The manifests for GKE: every field belongs to JobSet v1alpha2, Job v1 or Pod v1, and the values fit together."""

import re

import pytest
import yaml

from tests.helpers.paths import ROOT

# The fields in use, from https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2 and from Kubernetes' Job and Pod.
STRING, INTEGER, ANY = "string", "integer", "any"
JOBSET = {
    "apiVersion": STRING,
    "kind": STRING,
    "metadata": {"name": STRING, "annotations": ANY},
    "spec": {
        "failurePolicy": {
            "maxRestarts": INTEGER,
            "rules": [{"name": STRING, "action": STRING, "onJobFailureReasons": [STRING]}],
        },
        "replicatedJobs": [
            {
                "name": STRING,
                "replicas": INTEGER,
                "template": {
                    "spec": {
                        "parallelism": INTEGER,
                        "completions": INTEGER,
                        "completionMode": STRING,
                        "backoffLimit": INTEGER,
                        "podFailurePolicy": {
                            "rules": [
                                {
                                    "action": STRING,
                                    "onExitCodes": {"containerName": STRING, "operator": STRING, "values": [INTEGER]},
                                    "onPodConditions": [{"type": STRING, "status": STRING}],
                                }
                            ]
                        },
                        "template": {
                            "metadata": {"annotations": ANY},
                            "spec": {
                                "serviceAccountName": STRING,
                                "restartPolicy": STRING,
                                "terminationGracePeriodSeconds": INTEGER,
                                "nodeSelector": ANY,
                                "containers": [
                                    {
                                        "name": STRING,
                                        "image": STRING,
                                        "args": [STRING],
                                        "env": [
                                            {
                                                "name": STRING,
                                                "value": STRING,
                                                "valueFrom": {"fieldRef": {"fieldPath": STRING}},
                                            }
                                        ],
                                        "ports": [{"containerPort": INTEGER}],
                                        "resources": {"requests": ANY, "limits": ANY},
                                        "volumeMounts": [{"name": STRING, "mountPath": STRING}],
                                    }
                                ],
                                "volumes": [
                                    {
                                        "name": STRING,
                                        "emptyDir": {"medium": STRING},
                                        "csi": {"driver": STRING, "volumeAttributes": ANY},
                                    }
                                ],
                            },
                        },
                    }
                },
            }
        ],
    },
}


def check(value, allowed, path: str = "") -> None:
    if isinstance(allowed, dict):
        assert isinstance(value, dict), path
        for name, item in value.items():
            assert name in allowed, f"{path}.{name} is not a field"
            check(item, allowed[name], f"{path}.{name}")
    elif isinstance(allowed, list):
        assert isinstance(value, list), path
        for number, item in enumerate(value):
            check(item, allowed[0], f"{path}[{number}]")
    elif allowed == STRING:
        assert isinstance(value, str), f"{path} is {value!r}"
    elif allowed == INTEGER:
        assert type(value) is int, f"{path} is {value!r}"


@pytest.fixture(scope="module", params=["gke_jobset.yaml", "gke_jobset_gpu.yaml"])
def manifest(request) -> dict:
    [document] = yaml.safe_load_all((ROOT / "launch" / request.param).read_text())
    return document


def job_pod_and_container(manifest: dict) -> tuple[dict, dict, dict]:
    """Return the only Job, its Pod and its container."""
    [replicated] = manifest["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    return job, pod, container


def environment(container: dict) -> dict:
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]}


def test_every_field_belongs_to_the_api(manifest):
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    check(manifest, JOBSET)
    with pytest.raises(AssertionError, match=r"\.spec\.suspended is not a field"):
        check({"spec": {"suspended": True}}, JOBSET)


def test_a_preemption_restarts_all_pods_and_does_not_count(manifest):
    job, pod, container = job_pod_and_container(manifest)
    [rule] = manifest["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("RestartJobSetAndIgnoreMaxRestarts", ["PodFailurePolicy"])
    saved, preempted = job["podFailurePolicy"]["rules"]
    assert saved["onExitCodes"]["containerName"] == container["name"]
    assert preempted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert {saved["action"], preempted["action"]} == {"FailJob"}
    # A Job with a podFailurePolicy allows no other restartPolicy.
    assert (pod["restartPolicy"], job["backoffLimit"]) == ("Never", 0)


def test_the_exit_code_of_a_preempted_run_is_the_same_everywhere(manifest):
    """The Slurm script, the service of the TPU and the JobSet restart the same runs."""
    job, _, _ = job_pod_and_container(manifest)
    [status] = job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    for script in ("slurm_gpu.sbatch", "tpu_pod.sh"):
        assert f"\npreempted={status} " in (ROOT / "launch" / script).read_text()


def test_processes_and_devices_fit_the_papers_workers(manifest):
    job, pod, container = job_pod_and_container(manifest)
    assert job["parallelism"] == job["completions"]
    assert job["completionMode"] == "Indexed"
    resources = container["resources"]
    assert resources["requests"] == resources["limits"]
    [(kind, devices)] = resources["limits"].items()
    assert devices * job["completions"] == 16
    if kind == "google.com/tpu":
        rows, columns = map(int, re.findall(r"\d+", pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]))
        assert rows * columns == 16


def test_all_pods_see_the_directories_of_the_run(manifest):
    job, pod, container = job_pod_and_container(manifest)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts["/bucket"]["csi"]["driver"] == "gcsfuse.csi.storage.gke.io"
    assert job["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    flags = dict(flag.split("=") for flag in container["args"])
    assert flags["--workdir"].startswith("/bucket/")
    assert flags["--config.data.data_dir"].startswith("/bucket/")


def test_gpu_processes_find_the_first(manifest):
    """JobSet names pods <set>-<replicated job>-<job>-<pod>.<set>; GKE itself names the processes of a TPU."""
    job, _, container = job_pod_and_container(manifest)
    variables = environment(container)
    if "google.com/tpu" in container["resources"]["limits"]:
        assert "JAX_COORDINATOR_ADDRESS" not in variables
        return
    name, [replicated] = manifest["metadata"]["name"], manifest["spec"]["replicatedJobs"]
    host, port = variables["JAX_COORDINATOR_ADDRESS"].split(":")
    assert host == f"{name}-{replicated['name']}-0-0.{name}"
    assert {"containerPort": int(port)} in container["ports"]
    assert variables["JAX_NUM_PROCESSES"] == str(job["completions"])
    assert "job-completion-index" in variables["JAX_PROCESS_ID"]["fieldRef"]["fieldPath"]


def test_the_image_copies_existing_files_and_installs_an_extra_of_setup_py():
    lines = (ROOT / "launch" / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert {"avlearn", "configs", "setup.py"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    [extra] = [line.partition("=")[2] for line in lines if line.startswith("ARG EXTRA")]
    assert f'"{extra}": [' in (ROOT / "setup.py").read_text()
