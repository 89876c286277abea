"""Real SDKs, pointed at a base URL: a read, then a write.

usage: sdks.py SDK BASE KEY [AWS-ID AWS-SECRET]

BASE stands for the provider's host; KEY is sent in the credential's place.
Prints `read: ok` and `write: ok` or `write: NAME OF THE EXCEPTION: STATUS: TEXT`.
Retries are the SDK's own, or none where ONCE is in the environment.
"""
import asyncio
import os
import sys

sdk, base, key = sys.argv[1:4]
once = "ONCE" in os.environ


def github():
    from github import Auth, Github
    client = Github(base_url=base, auth=Auth.Token(key), lazy=False, **({"retry": None} if once else {}))
    yield client.get_repo("a/b").get_issues().totalCount
    yield client.get_repo("a/b").create_issue("title", "body")


def slack():
    from slack_sdk import WebClient
    client = WebClient(token=key, base_url=base + "/api/")
    yield client.conversations_list(limit=2)
    yield client.chat_postMessage(channel="C1", text="hello")


def google():
    import httplib2
    from google.oauth2.credentials import Credentials
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient.discovery import build
    client = build(
        "calendar", "v3", http=AuthorizedHttp(Credentials(key), httplib2.Http()),
        static_discovery=True, client_options={"api_endpoint": base + "/calendar/v3/"},
    )
    yield client.events().list(calendarId="me@example.com").execute()
    yield client.events().insert(calendarId="me@example.com", body={"summary": "x"}).execute()


def google_cloud():
    """What google-cloud-storage and its like do with an answer."""
    import requests
    from google.api_core import exceptions

    def ask(method, path, **more):
        headers = {"Authorization": f"Bearer {key}", "X-Goog-API-Client": "gl-python/3.11 gccl/3.17.1"}
        answer = requests.request(method, base + path, headers=headers, **more)
        if not answer.ok:
            raise exceptions.from_http_response(answer)
        return answer.json()

    yield ask("GET", "/storage/v1/b/bucket/o")
    yield ask("POST", "/storage/v1/b", json={"name": "bucket"})


def notion():
    from notion_client import Client
    client = Client(auth=key, base_url=base, retry=not once)
    yield client.search(query="roadmap")
    yield client.pages.create(parent={"page_id": "p"}, properties={})


def jira():
    from jira import JIRA
    client = JIRA(server=base, token_auth=key, get_server_info=False, max_retries=0 if once else 3)
    yield client.issue("X-1", fields="summary")
    yield client.add_comment("X-1", "hello")


def salesforce():
    client = salesforce_client()
    yield client.query("SELECT Id FROM Account")
    yield client.Account.create({"Name": "x"})


def salesforce_bulk():
    """Of the older Bulk API, which has the token in a header of its own."""
    job = salesforce_client().bulk.Account
    yield job._create_job(operation="query", use_serial=False)
    yield job._close_job("1")


def salesforce_client():
    import requests
    from simple_salesforce import Salesforce

    class Plain(requests.adapters.HTTPAdapter):
        def send(self, request, **kwargs):
            request.url = base + request.path_url
            return super().send(request, **kwargs)

    session = requests.Session()
    session.mount("https://", Plain())
    return Salesforce(instance="acme.my.salesforce.com", session_id=key, session=session)


def hubspot():
    from hubspot import HubSpot
    client = HubSpot(access_token=key, host=base, base_url=base)
    api = client.crm.contacts.basic_api
    yield api.get_page(limit=1), client.api_request({"path": "/crm/v3/objects/contacts"})
    from hubspot.crm.contacts import SimplePublicObjectInputForCreate as New
    yield api.create(New(properties={"email": "x@example.com"}, associations=[]))


def dynamodb():
    yield aws("dynamodb").list_tables()
    yield aws("dynamodb").delete_table(TableName="t")


def s3():
    client = aws("s3")
    yield client.list_objects_v2(Bucket="bucket", Prefix="a b/c")
    yield client.put_object(Bucket="bucket", Key="a b/c+d", Body=b"x" * 1000)


def sqs():
    url = f"{base}/sqs/123456789012/queue"
    yield aws("sqs").list_queues()
    yield aws("sqs").send_message(QueueUrl=url, MessageBody="hello")


def sts():
    yield aws("sts").get_caller_identity()
    yield aws("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/admin", RoleSessionName="agent")


def iam():
    yield aws("iam").list_users()
    yield aws("iam").delete_user(UserName="x")


def awslambda():
    yield aws("lambda").list_functions()
    yield aws("lambda").invoke(FunctionName="arn:aws:lambda:eu-west-1:123456789012:function:f", Payload=b"{}")


def ec2():
    yield aws("ec2").describe_instances(MaxResults=5)
    yield aws("ec2").terminate_instances(InstanceIds=["i-1"])


def cloudwatch():
    client = aws("cloudwatch", "monitoring")
    yield client.list_metrics()
    yield client.delete_alarms(AlarmNames=["a"])


def cloudwatch_large():
    """Large bodies are compressed unless told otherwise."""
    metrics = {"Namespace": "n", "MetricData": [{"MetricName": "m" * 200, "Value": 1.0}] * 100}
    yield aws("cloudwatch", "monitoring", disable_request_compression=True).put_metric_data(**metrics)
    yield aws("cloudwatch", "monitoring").put_metric_data(**metrics)


def ecr():
    yield aws("ecr").describe_repositories()
    yield aws("ecr", "api.ecr").delete_repository(repositoryName="repository")


def route53():
    yield aws("route53").list_hosted_zones()
    yield aws("route53").delete_hosted_zone(Id="Z1")


def graph():
    yield asyncio.run(graph_request("GET", "/me/messages"))
    yield asyncio.run(graph_request("POST", "/me/sendMail", b'{"message": {}}'))


async def graph_request(method, path, body=None):
    from kiota_abstractions.method import Method
    from kiota_abstractions.api_client_builder import register_default_deserializer
    from kiota_abstractions.api_error import APIError
    from kiota_abstractions.request_information import RequestInformation
    from kiota_abstractions.serialization import Parsable
    from kiota_serialization_json.json_parse_node_factory import JsonParseNodeFactory
    register_default_deserializer(JsonParseNodeFactory)

    class Main(Parsable):
        @staticmethod
        def create_from_discriminator_value(node):
            return Main()

        def get_field_deserializers(self):
            return {"message": lambda node: setattr(self, "message", node.get_str_value())}

        def serialize(self, writer):
            raise NotImplementedError

    class ODataError(APIError, Main):
        """As it is generated for Graph."""
        error = None

        @staticmethod
        def create_from_discriminator_value(node):
            return ODataError()

        def get_field_deserializers(self):
            return {"error": lambda node: setattr(self, "error", node.get_object_value(Main))}

        @property
        def primary_message(self):
            return self.error and self.error.message

    info = RequestInformation(method=Method(method), url_template="{+baseurl}" + path)
    info.path_parameters["baseurl"] = base + "/v1.0"
    if once:
        from kiota_http.middleware.options import RetryHandlerOption
        info.add_request_options([RetryHandlerOption(max_retries=0)])
    if body:
        info.set_stream_content(body, "application/json")
    errors = {"4XX": ODataError, "5XX": ODataError}
    return await graph_adapter().send_primitive_async(info, "bytes", errors)


def graph_adapter():
    from kiota_abstractions.authentication import AccessTokenProvider, AllowedHostsValidator
    from kiota_abstractions.authentication import BaseBearerTokenAuthenticationProvider
    from msgraph_core import BaseGraphRequestAdapter

    class Token(AccessTokenProvider):
        async def get_authorization_token(self, uri, additional_authentication_context={}):
            return key

        def get_allowed_hosts_validator(self):
            return AllowedHostsValidator([])

    adapter = BaseGraphRequestAdapter(BaseBearerTokenAuthenticationProvider(Token()))
    adapter.base_url = base + "/v1.0"
    return adapter


def aws(service, host=None, **more):
    import boto3
    from botocore.config import Config
    identity, secret = sys.argv[4:6]
    return boto3.client(
        service, endpoint_url=f"{base}/{host or service}", region_name="eu-west-1",
        aws_access_key_id=identity, aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1} if once else None, s3={"addressing_style": "path"}, **more),
    )


def status(error):
    """Wherever the SDK keeps it."""
    kept = getattr(error, "response", None)
    if isinstance(kept, dict):
        return kept["ResponseMetadata"]["HTTPStatusCode"]
    names = ["status", "status_code", "response_status_code"]
    return next(getattr(one, name) for name in names for one in (error, kept) if hasattr(one, name))


steps = globals()[sdk]()
next(steps)
print("read: ok", flush=True)
try:
    next(steps)
    print("write: ok", flush=True)
except Exception as error:
    print(f"write: {type(error).__name__}: {status(error)}: {str(error)[:900]}", flush=True)
