"""An S3 server in this process."""

from __future__ import annotations

import pytest


class Bucket:
    """The bucket `backup` of a server that can be stopped and restarted on the same port."""

    def __init__(self):
        self.server = None
        self.port = 0

    def start(self):
        from moto.server import ThreadedMotoServer

        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()
        _, self.port = self.server.get_host_and_port()

    def stop(self):
        if self.server is not None:
            self.server.stop()
            self.server = None

    def client(self):
        import boto3

        return boto3.client("s3")

    def names(self):
        objects = self.client().list_objects_v2(Bucket="backup").get("Contents", [])
        return sorted(entry["Key"] for entry in objects)

    def read(self, name):
        return self.client().get_object(Bucket="backup", Key=name)["Body"].read()


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    created = Bucket()
    created.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{created.port}",
        "AWS_ACCESS_KEY_ID": "testing-id",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    import s3fs
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3_backends[DEFAULT_ACCOUNT_ID].reset()
    created.client().create_bucket(Bucket="backup")
    yield created
    created.stop()
    s3fs.S3FileSystem.clear_instance_cache()
