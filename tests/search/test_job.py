import json

from weft.search import Job, Result


def test_jobs_and_results_survive_json():
    job = Job(3, "k", {"units": [1, 2]}, 7, 1, 3, 5, "runs/x", {"costs": ["lut"], "text": "äöü"})
    assert Job.from_json(job.to_json()) == job
    lut = {"value": 12.0, "unit": "count", "stage": "solver", "source": "alkaid"}
    result = Result(3, 1, {"accuracy": 0.5}, {"lut": lut}, 1.5, 0.25, "runs/x/w.npz")
    assert Result.from_json(result.to_json()) == result
    assert json.loads(result.to_json())["error"] is None
    failed = Result(3, 1, error="the loss is nan", error_kind="diverged")
    assert Result(**failed.to_dict()) == failed
