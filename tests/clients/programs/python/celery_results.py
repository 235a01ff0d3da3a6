"""Celery's result backends over Redis and over Sentinel: celery_results.py PORT,PORT,PORT"""

import sys

from celery import Celery
from celery.result import AsyncResult

ports = sys.argv[1].split(",")
sentinel_url = ";".join(f"sentinel://127.0.0.1:{port}" for port in ports)
app = Celery("results", backend=sentinel_url, broker="memory://")
app.conf.result_backend_transport_options = {"master_name": "talon"}

backend = app.backend
backend.store_result("one", {"answer": 42}, "SUCCESS")
result = AsyncResult("one", app=app)
assert result.state == "SUCCESS" and result.result == {"answer": 42}
assert result.get(timeout=10) == {"answer": 42}
assert backend.get_many(["one"], timeout=10)
backend.store_result("two", ValueError("no"), "FAILURE")
assert AsyncResult("two", app=app).failed()
result.forget()
assert AsyncResult("one", app=app).state == "PENDING"
print("celery")
