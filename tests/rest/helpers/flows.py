"""Real SDKs through whole flows: uploads, pages, batches.

usage: flows.py FLOW BASE KEY AWS-ID AWS-SECRET [PORT]

BASE stands for the provider's host; KEY is sent in the credential's place. With
PORT, TLS is put in front of BASE there, and the SDK is told `https`.
Prints what came of it, or `refused: NAME OF THE EXCEPTION: what it says`.
"""
import asyncio
import io
import os
import socket
import ssl
import sys
import tempfile
import threading
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

flow, base, key = sys.argv[1:4]
FOLDER = tempfile.TemporaryDirectory()
CERTIFICATE = os.path.join(FOLDER.name, "cert.pem")
LARGE = bytes(range(256)) * 1600


def behind_tls(port):
    """What ends TLS in front of a gate: bytes go on as they come."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    own, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key())
        .serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(True, None), True).sign(own, hashes.SHA256())
    )
    with open(CERTIFICATE, "wb") as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
        file.write(own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    listener, there = socket.create_server(("127.0.0.1", port)), urlsplit(base)

    def pass_on(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept():
        while True:
            try:
                client = context.wrap_socket(listener.accept()[0], server_side=True)
            except OSError:
                continue
            server = socket.create_connection((there.hostname, there.port))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"https://localhost:{port}{there.path}"


def slack_upload():
    from slack_sdk import WebClient
    client = WebClient(token=key, base_url=base + "/api/")
    return client.files_upload_v2(channel="C1", content="hello", filename="a.txt")["ok"]


PAGE = b'<form>\r\n<input name="_method" value="delete">\r\n' + LARGE * 4


def jira_attach():
    from jira import JIRA
    client = JIRA(server=base, token_auth=key, get_server_info=False, max_retries=0)
    return client.add_attachment("X-1", io.BytesIO(PAGE), filename="_method").id


def hubspot_upload():
    from hubspot import HubSpot
    api = HubSpot(access_token=key, host=base).files.files_api
    with tempfile.NamedTemporaryFile(suffix=".html") as file:
        file.write(PAGE)
        file.flush()
        return api.upload(file=file.name, folder_path="/x", options='{"access": "PRIVATE"}').id


def notion_upload():
    from notion_client import Client
    client = Client(auth=key, base_url=base)
    made = client.file_uploads.create(mode="single_part", filename="a.html")
    return client.file_uploads.send(made["id"], file=("a.html", PAGE, "text/html"))["id"]


def slack_upload_v1():
    import requests
    answer = requests.post(base + "/api/files.upload", headers={"Authorization": f"Bearer {key}"},
                           data={"channels": "C1"}, files={"file": ("_method", PAGE)}, timeout=60)
    return answer.json()["ok"]


def fetched(url, **headers):
    import requests
    answer = requests.get(url, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.text


def slack_files():
    from slack_sdk import WebClient
    file = WebClient(token=key, base_url=base + "/api/").files_info(file="F1")["file"]
    # As Slack's guide has it: with the token of the API.
    urls = [file[name] for name in ("url_private", "url_private_download", "thumb_64", "mp4")]
    return {fetched(url, Authorization=f"Bearer {key}") for url in urls}.pop()


def notion_files():
    from notion_client import Client
    blocks = Client(auth=key, base_url=base).blocks.children.list(block_id="1")["results"]
    return fetched(blocks[0]["file"]["file"]["url"])


def hubspot_files():
    from hubspot import HubSpot
    api = HubSpot(access_token=key, host=base).files.files_api
    return fetched(api.get_signed_url(file_id="1").url)


def jira_files():
    from jira import JIRA
    client = JIRA(server=base, token_auth=key, get_server_info=False, max_retries=0)
    return client.attachment("1").get().decode()


def github_files():
    from github import Auth, Github
    repo = Github(base_url=base, auth=Auth.Token(key), retry=None).get_repo("a/b")
    return {fetched(repo.get_contents("c").download_url), fetched(repo.get_archive_link("tarball"))}.pop()


def google_files():
    return fetched(google("drive", "v3").files().get(fileId="f2", fields="thumbnailLink").execute()["thumbnailLink"])


def google(name, version):
    import httplib2
    from google.oauth2.credentials import Credentials
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient.discovery import build
    http = AuthorizedHttp(Credentials(key), httplib2.Http(ca_certs=CERTIFICATE if os.path.exists(CERTIFICATE) else None))
    path = {"drive": "/drive/v3/", "calendar": "/calendar/v3/"}[name]
    return build(name, version, http=http, static_discovery=True, client_options={"api_endpoint": base + path})


def google_upload():
    from googleapiclient.http import MediaIoBaseUpload
    media = MediaIoBaseUpload(io.BytesIO(LARGE), "text/plain", chunksize=256 * 1024, resumable=True)
    request = google("drive", "v3").files().create(body={"name": "a"}, media_body=media)
    return request.execute()["id"]


def google_multipart():
    from googleapiclient.http import MediaIoBaseUpload
    media = MediaIoBaseUpload(io.BytesIO(b"hello"), "text/plain")
    return google("drive", "v3").files().create(body={"name": "a"}, media_body=media).execute()["id"]


def google_download():
    return google("drive", "v3").files().get_media(fileId="f1").execute().decode()


def google_batch(*calls):
    client = google("calendar", "v3")
    batch = client.new_batch_http_request(callback=lambda _, answer, error: answers.append(answer or error))
    # The library takes Google's own host for batches, whatever it was told.
    batch._batch_uri = base + "/batch/calendar/v3"
    answers = []
    for call in calls:
        batch.add(call(client.events()))
    batch.execute()
    return [answer["id"] if isinstance(answer, dict) else str(answer) for answer in answers]


def google_batch_reads():
    get = lambda events: events.get(calendarId="c", eventId="e")
    return google_batch(get, get)


def google_batch_with_delete():
    get = lambda events: events.get(calendarId="c", eventId="e")
    return google_batch(get, lambda events: events.delete(calendarId="c", eventId="e"))


def github_pages():
    from github import Auth, Github
    client = Github(base_url=base, auth=Auth.Token(key), retry=None, per_page=1)
    return [issue.number for issue in client.get_repo("a/b").get_issues()]


def jira_pages():
    from jira import JIRA
    client = JIRA(server=base, token_auth=key, get_server_info=False, max_retries=0)
    return [issue.key for issue in client.search_issues("project = X", maxResults=False)]


def graph_pages():
    return asyncio.run(_graph_pages())


async def _graph_pages():
    from kiota_abstractions.method import Method
    from kiota_abstractions.request_information import RequestInformation
    import json
    adapter, ids, url = graph_adapter(), [], base + "/v1.0/me/messages"
    while url:
        info = RequestInformation(method=Method.GET)
        info.url = url
        page = json.loads(await adapter.send_primitive_async(info, "bytes", {}))
        ids += [item["id"] for item in page["value"]]
        url = page.get("@odata.nextLink")
    return ids


def graph_upload():
    return asyncio.run(_graph_upload())


async def _graph_upload():
    import json
    from kiota_abstractions.api_client_builder import register_default_deserializer
    from kiota_abstractions.method import Method
    from kiota_abstractions.request_information import RequestInformation
    from kiota_serialization_json.json_parse_node_factory import JsonParseNodeFactory
    from msgraph_core.models import LargeFileUploadSession
    from msgraph_core.tasks import LargeFileUploadTask
    adapter = graph_adapter()
    info = RequestInformation(method=Method.POST)
    info.url = base + "/v1.0/me/drive/root:/a.bin:/createUploadSession"
    info.set_stream_content(b'{"item": {}}', "application/json")
    made = json.loads(await adapter.send_primitive_async(info, "bytes", {}))
    session = LargeFileUploadSession(upload_url=made["uploadUrl"])
    register_default_deserializer(JsonParseNodeFactory)
    session.expiration_date_time = datetime(2099, 1, 1, tzinfo=timezone.utc)
    task = LargeFileUploadTask(session, adapter, io.BytesIO(LARGE), max_chunk_size=320 * 1024)
    answer = await task.next_chunk(task.stream, 0, 320 * 1024 - 1)
    while answer.next_expected_ranges:
        task.next_range = answer.next_expected_ranges[0]
        answer = await task.next_chunk(task.stream)
    return "sent"


def graph_adapter():
    from kiota_abstractions.authentication import AccessTokenProvider, AllowedHostsValidator
    from kiota_abstractions.authentication import BaseBearerTokenAuthenticationProvider
    from msgraph_core import BaseGraphRequestAdapter

    class Token(AccessTokenProvider):
        async def get_authorization_token(self, uri, additional_authentication_context={}):
            return key

        def get_allowed_hosts_validator(self):
            return AllowedHostsValidator([])

    return BaseGraphRequestAdapter(BaseBearerTokenAuthenticationProvider(Token()))


def s3(version=None):
    import boto3
    from botocore.config import Config
    identity, secret = sys.argv[4:6]
    return boto3.client(
        "s3", endpoint_url=base + "/s3", region_name="eu-west-1",
        aws_access_key_id=identity, aws_secret_access_key=secret,
        verify=CERTIFICATE if os.path.exists(CERTIFICATE) else None,
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, signature_version=version),
    )


def s3_put():
    # Sends `Expect: 100-continue`; the checksum comes in a header, or behind the
    # body where there is TLS.
    s3().put_object(Bucket="bucket", Key="a", Body=io.BytesIO(LARGE), ChecksumAlgorithm="SHA256")
    return "sent"


def s3_presigned():
    # What botocore makes by default for an endpoint of one's own is version 2.
    import requests
    client = s3(version="s3v4")
    put = client.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "a b/c+d", "ACL": "private"})
    get = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "a b/c+d", "VersionId": "v=1"})
    requests.get(get).raise_for_status()
    requests.put(put, data=LARGE, headers={"x-amz-acl": "private"}).raise_for_status()
    return "sent"


def s3_multipart():
    from boto3.s3.transfer import TransferConfig
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, use_threads=False)
    s3().upload_fileobj(io.BytesIO(bytes(6 << 20)), "bucket", "a", Config=config)
    return "sent"


if len(sys.argv) > 6:
    base = behind_tls(int(sys.argv[6]))
try:
    print(globals()[flow](), flush=True)
except Exception as error:
    print(f"refused: {type(error).__name__}: {str(error)[:300]}", flush=True)
