"""What the failover programs share: INCR of one key, one after the other, with every outcome on a line of its own.

    ok NUMBER REPLY MS          acknowledged with this reply, MS milliseconds after the program began
    failed NUMBER MS ERROR      raised; what became of it is unknown

A command that failed is not sent again by the program; the next one follows 20 ms later, as in an application that writes
50 times a second. With `once` for RETRIES it is sent again, with the same number, as `ONCE SESSION NUMBER INCR KEY`, until it is
acknowledged. It ends when its input ends.
"""

import sys
import threading
import time
import uuid

# How long it rests after a success: several programs share one machine.
REST_S = 0.005
REST_AFTER_FAILURE_S = 0.02


def arguments():
    """DISCOVERY RETRIES PORT,PORT,PORT KEY, as every failover program takes them; RETRIES is `off`, `default` or `once`."""
    discovery, retries, ports, key = sys.argv[1:5]
    return discovery, retries != "off", [int(port) for port in ports.split(",")], key


def write(incr, command):
    """Calls `incr` until the input ends; with `once`, `command` with the words of a command of Talon's."""
    once, key, session = sys.argv[2] == "once", sys.argv[4], uuid.uuid4().hex
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    begun, number = time.monotonic(), 0
    acknowledged = True
    while not ended.is_set():
        number += 1 if acknowledged or not once else 0
        acknowledged = False
        try:
            reply = command("ONCE", session, number, "INCR", key) if once else incr()
        except Exception as error:  # Whatever a client raises is an outcome.
            text = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"failed {number} {(time.monotonic() - begun) * 1000:.1f} {text[:200]}", flush=True)
            time.sleep(REST_AFTER_FAILURE_S)
        else:
            acknowledged = True
            print(f"ok {number} {reply} {(time.monotonic() - begun) * 1000:.1f}", flush=True)
            time.sleep(REST_S)
