"""What tests/launch/test_local_multiprocess.py launches: says who it is, then ends as it is told."""

import os
import signal
import socket
import sys
import time

NUMBER = os.environ["JAX_PROCESS_ID"]
how, who = sys.argv[1:]
print(f"I am {NUMBER} of {os.environ['JAX_NUM_PROCESSES']} at {os.environ['JAX_COORDINATOR_ADDRESS']}")
print(f"devices {os.environ.get('JAX_NUM_CPU_DEVICES')} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
print(f"on {os.environ['JAX_PLATFORMS']}")
print(f"pid {os.getpid()}", flush=True)
if how == "gloo":  # as two threads of its collectives write at once
    sys.stdout.write("[Gloo] Rank [Gloo] Rank 1 is connected to 3 peer ranks. 0 is connected to Expected number of ")
    sys.stdout.write("connected peer ranks is : 33\n peer ranks. Expected number of connected peer ranks is : 3\n\n")
    print("33 and all is well")
elif how != "all_well":
    host, port = os.environ["JAX_COORDINATOR_ADDRESS"].split(":")
    if NUMBER == "0":
        listener = socket.create_server((host, int(port)))  # says that it has started
    if who == NUMBER:
        print("my last words")
        sys.stdout.flush()
        if how == "exit_3":
            sys.exit(3)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "interrupt":
            while NUMBER != "0" and socket.socket().connect_ex((host, int(port))):
                time.sleep(0.01)
            os.kill(os.getppid(), signal.SIGINT)
    time.sleep(100)
