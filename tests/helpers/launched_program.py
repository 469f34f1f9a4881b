"""The program that tests/launch/test_local_multiprocess.py launches: prints its settings, then performs an action."""

import os
import signal
import socket
import sys
import time

NUMBER = os.environ["JAX_PROCESS_ID"]
action, process = sys.argv[1:]
print(f"I am {NUMBER} of {os.environ['JAX_NUM_PROCESSES']} at {os.environ['JAX_COORDINATOR_ADDRESS']}")
print(f"devices {os.environ.get('JAX_NUM_CPU_DEVICES')} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
print(f"on {os.environ['JAX_PLATFORMS']}")
print(f"pid {os.getpid()}", flush=True)
if action == "gloo":  # as two threads of the collectives that write at once
    sys.stdout.write("[Gloo] Rank [Gloo] Rank 1 is connected to 3 peer ranks. 0 is connected to Expected number of ")
    sys.stdout.write("connected peer ranks is : 33\n peer ranks. Expected number of connected peer ranks is : 3\n\n")
    print("33 and all is well")
elif action != "succeed":
    host, port = os.environ["JAX_COORDINATOR_ADDRESS"].split(":")
    if NUMBER == "0":
        listener = socket.create_server((host, int(port)))  # shows the others that it has started
    if process == NUMBER:
        print("my last words")
        sys.stdout.flush()
        if action == "exit_3":
            sys.exit(3)
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "interrupt":
            while NUMBER != "0" and socket.socket().connect_ex((host, int(port))):
                time.sleep(0.01)
            os.kill(os.getppid(), signal.SIGINT)
    time.sleep(100)
