"""Celery's result backend, found through Sentinels: celery_results.py PORT,PORT,PORT

A result is stored as SETEX and PUBLISH in one transaction, and whoever waits for it has subscribed.
"""

import sys
import threading
import time

from celery import Celery
from celery.result import AsyncResult

ports = sys.argv[1].split(",")
app = Celery("talon", backend=";".join(f"sentinel://127.0.0.1:{port}" for port in ports))
app.conf.result_backend_transport_options = {"master_name": "talon"}
app.conf.result_expires = 1000
backend = app.backend


def work(task_id):
    time.sleep(0.3)
    app.backend.store_result(task_id, {"answer": 42}, "SUCCESS")


waiting = AsyncResult("celery-1", app=app)
assert waiting.state == "PENDING"
worker = threading.Thread(target=work, args=("celery-1",))
begun = time.monotonic()
worker.start()
assert waiting.get(timeout=10) == {"answer": 42}
assert time.monotonic() - begun < 5, "the message came, and nobody asked again and again"
worker.join()

backend.store_result("celery-2", ValueError("no"), "FAILURE", traceback="")
failed = AsyncResult("celery-2", app=app)
assert failed.failed() and isinstance(failed.result, ValueError)
assert 900 < backend.client.ttl(backend.get_key_for_task("celery-2")) <= 1000
failed.forget()
assert AsyncResult("celery-2", app=app).state == "PENDING"
print("celery")
