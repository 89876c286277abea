"""Clients that send large bodies which the gate refuses before it has read them: what
each of them sees, as lines of JSON."""

import asyncio
import http.client
import io
import json
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

import aiohttp
import boto3
import httpx
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

BASE, KEY, AWS_ID, AWS_SECRET = sys.argv[1:5]
BODY = b"x" * (8 << 20)
PIECE = 64 << 10

CASES = [
    ("wrong key", "/proxy/github/user", "wrong", 401),
    ("denied", "/proxy/google/upload/drive/v3/files?uploadType=media", KEY, 403),
    ("over the cap", "/proxy/github/repos/a/b/issues", KEY, 413),
    ("elsewhere", "/elsewhere", KEY, 404),
]


def report(client, case, expected, status, reason):
    print(json.dumps({"client": client, "case": case, "expected": expected,
                      "status": status, "reason": reason}), flush=True)


def headers(key):
    return {"X-Agent-Key": key, "Content-Type": "application/json"}


def slowly():
    """The body, in pieces that take their time."""
    for start in range(0, len(BODY), PIECE):
        yield BODY[start:start + PIECE]
        time.sleep(0.002)


async def slowly_async():
    for piece in slowly():
        yield piece


def with_requests(url, key, body):
    answer = requests.post(url, data=body, headers=headers(key), timeout=60)
    return answer.status_code, answer.text


def with_session(url, key, body):
    """The connection goes back to its pool, and the next request has to find another."""
    with requests.Session() as session:
        answers = [session.post(url, data=body(), headers=headers(key), timeout=60)
                   for _ in range(3)]
    assert len({answer.status_code for answer in answers}) == 1
    return answers[-1].status_code, answers[-1].text


def with_httpx(url, key, body, **options):
    with httpx.Client(timeout=60, **options) as client:
        answer = client.post(url, content=body, headers=headers(key))
        return answer.status_code, answer.text


def with_http_client(url, key, body):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    target = parts.path + ("?" + parts.query if parts.query else "")
    sized = {**headers(key), "Content-Length": str(len(BODY))}
    connection.request("POST", target, body=body, headers=sized)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


async def with_aiohttp(url, key, body):
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=body, headers=headers(key)) as answer:
            return answer.status, await answer.text()


def with_curl(url, key, *options):
    with tempfile.NamedTemporaryFile() as file:
        file.write(BODY)
        file.flush()
        said = subprocess.run(
            ["curl", "-sS", "-w", "\n%{http_code}", "-H", f"X-Agent-Key: {key}",
             "-H", "Content-Type: application/json", *options, "--data-binary", f"@{file.name}", url],
            capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said
    text, _, status = said.stdout.rpartition("\n")
    return int(status), text


for case, path, key, expected in CASES:
    url = BASE + path
    for client, send in [
        ("requests", lambda: with_requests(url, key, BODY)),
        ("requests slowly", lambda: with_requests(url, key, slowly())),
        ("a session of requests", lambda: with_session(url, key, lambda: BODY)),
        ("httpx", lambda: with_httpx(url, key, BODY)),
        ("httpx slowly", lambda: with_httpx(url, key, slowly())),
        ("httpx over HTTP/2", lambda: with_httpx(url, key, BODY, http1=False, http2=True)),
        ("http.client", lambda: with_http_client(url, key, BODY)),
        ("http.client slowly", lambda: with_http_client(url, key, slowly())),
        ("aiohttp", lambda: asyncio.run(with_aiohttp(url, key, BODY))),
        ("curl", lambda: with_curl(url, key)),
        ("curl without asking", lambda: with_curl(url, key, "-H", "Expect:")),
        ("curl slowly", lambda: with_curl(url, key, "-H", "Expect:", "--limit-rate", "8M")),
        ("curl over HTTP/2", lambda: with_curl(url, key, "--http2-prior-knowledge")),
    ]:
        try:
            status, reason = send()
        except Exception as error:  # noqa: BLE001
            status, reason = None, repr(error)
        report(client, case, expected, status, reason)


def aws(service, region="eu-west-1"):
    return boto3.client(
        service, region_name=region, endpoint_url=f"{BASE}/proxy/aws/{service}",
        aws_access_key_id=AWS_ID, aws_secret_access_key=AWS_SECRET,
        config=Config(retries={"max_attempts": 1}))


for client, send in [
    ("boto3 s3", lambda: aws("s3").put_object(Bucket="b", Key="k", Body=io.BytesIO(BODY))),
    ("boto3 lambda", lambda: aws("lambda").update_function_code(FunctionName="f", ZipFile=BODY)),
]:
    try:
        send()
        status, reason = 200, "it passed"
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        reason = error.response["Error"]["Code"]
    except Exception as error:  # noqa: BLE001
        status, reason = None, repr(error)
    report(client, "denied", 403 if client.endswith("s3") else 413, status, reason)
