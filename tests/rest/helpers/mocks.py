"""The providers' SDKs against a gate in test mode: every mock must parse into
what the SDK promises, and say that it is one.

usage: mocks.py BASE KEY AWS-ID AWS-SECRET

BASE is the gate's address. Prints a line for each provider; the exit code is 1
where one failed.
"""
import io
import sys
import traceback

import httpx

base, key, aws_id, aws_secret = sys.argv[1:5]
proxy = base + "/proxy/"


def raw(method, path, **kwargs):
    """A request without an SDK; the answer, which must say that it is a mock."""
    answer = httpx.request(method, proxy + path, headers={"X-Agent-Key": key}, **kwargs)
    assert answer.headers["X-AgentGate-TestMode"] == "true", answer.headers
    assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer


def github():
    from github import Auth, Github
    client = Github(base_url=proxy + "github", auth=Auth.Token(key), retry=None)
    assert client.get_user().login
    repo = client.get_repo("acme/site")
    assert (repo.full_name, repo.owner.login, repo.default_branch) == ("acme/site", "acme", "main")
    issues = list(repo.get_issues())
    assert issues and issues[0].title and issues[0].user.login and issues[0].created_at.year
    issue = repo.get_issue(7)
    assert issue.number == 7 and list(issue.labels) is not None
    assert [comment.body for comment in issue.get_comments()]
    pull = list(repo.get_pulls())[0]
    assert pull.head.ref and pull.base.ref and pull.merged is not None
    assert repo.get_pull(3).number == 3
    assert [branch.name for branch in repo.get_branches()]
    assert [commit.sha for commit in repo.get_commits()]
    assert [one.path for one in repo.get_contents("")]
    assert [event.event for event in repo.get_issue(7).get_timeline()] and repo.get_archive_link("tarball")
    assert repo.delete_file("README.md", "gone", "sha")["commit"].sha and repo.create_secret("NAME", "value")
    file = repo.get_contents("README.md")
    assert file.decoded_content and file.path == "README.md"
    assert [repo.name for repo in client.get_user().get_repos()]
    assert client.search_issues("is:open").totalCount == 2
    assert list(client.search_repositories("gate"))[0].full_name
    made = repo.create_issue("A title", "A body")
    assert (made.title, made.body) == ("A title", "A body")
    made.edit(state="closed")
    made.create_comment("done")
    assert client.get_rate_limit().resources.core.limit
    release = repo.create_git_release("v2", "Two", "Notes")
    assert release.upload_asset(__file__, "a label").state == "uploaded"
    operations = [{"query": "{viewer{login}}"}, {"query": "{viewer{id}}"}]
    assert [one["data"]["viewer"] for one in raw("POST", "github/graphql", json=operations).json()]
    assert raw("POST", "github/graphql", json={"query": "{viewer{login}}"}).json()["data"]["viewer"]["login"]


def slack():
    from slack_sdk import WebClient
    client = WebClient(token=key, base_url=proxy + "slack/api/")
    assert client.auth_test()["user_id"]
    channel = client.conversations_list()["channels"][0]
    assert channel["name"] and client.conversations_info(channel=channel["id"])["channel"]["id"] == channel["id"]
    assert client.conversations_history(channel=channel["id"])["messages"][0]["text"]
    assert client.conversations_replies(channel=channel["id"], ts="1.2")["messages"]
    assert client.conversations_members(channel=channel["id"])["members"]
    assert client.users_list()["members"][0]["profile"]["real_name"]
    assert client.users_info(user="U1")["user"]["id"] == "U1"
    assert client.search_messages(query="roof")["messages"]["matches"][0]["text"]
    assert client.files_list()["files"][0]["id"]
    assert client.team_info()["team"]["name"]
    assert [page for page in client.conversations_list(limit=1)]
    sent = client.chat_postMessage(channel="C1", text="hello")
    assert (sent["channel"], sent["message"]["text"]) == ("C1", "hello") and sent["ts"]
    client.chat_update(channel="C1", ts=sent["ts"], text="hello again")
    client.reactions_add(channel="C1", timestamp=sent["ts"], name="tea")
    client.chat_delete(channel="C1", ts=sent["ts"])
    assert client.files_upload_v2(channel="C1", content="hello", filename="a.txt")["files"][0]["id"]


def google():
    import httplib2
    from google.oauth2.credentials import Credentials
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient.discovery import build
    from googleapiclient.http import MediaIoBaseUpload

    def service(name, version, path):
        http = AuthorizedHttp(Credentials(key), httplib2.Http())
        options = {"api_endpoint": proxy + "google/" + path}
        return build(name, version, http=http, static_discovery=True, client_options=options)

    calendar = service("calendar", "v3", "calendar/v3/")
    events = calendar.events()
    listed = events.list(calendarId="primary").execute()
    assert listed["items"][0]["start"]["dateTime"] and not events.list_next(
        events.list(calendarId="primary"), listed)
    assert events.get(calendarId="primary", eventId="e1").execute()["id"] == "e1"
    made = events.insert(calendarId="primary", body={"summary": "Roof"}).execute()
    assert made["kind"] == "calendar#event" and made["summary"] == "Roof" and made["id"]
    events.delete(calendarId="primary", eventId="e1").execute()
    assert calendar.calendarList().list().execute()["items"][0]["primary"]
    assert calendar.freebusy().query(body={"items": []}).execute()["calendars"]["primary"]["busy"]
    drive = service("drive", "v3", "drive/v3/")
    file = drive.files().list().execute()["files"][0]
    assert file["mimeType"] and file["name"]
    assert drive.files().get(fileId="f1").execute()["id"] == "f1"
    assert drive.files().create(body={"name": "notes"}).execute()["name"] == "notes"
    media = MediaIoBaseUpload(io.BytesIO(b"x" * 300_000), "text/plain", chunksize=262_144, resumable=True)
    upload = drive.files().create(body={"name": "notes"}, media_body=media)
    # The library keeps of the endpoint its host alone, and takes https.
    upload.uri = proxy + "google/" + upload.uri.split("/", 3)[3]
    assert upload.execute()["id"]
    answers = {}
    batch = drive.new_batch_http_request(lambda id, answer, error: answers.update({id: (answer, error)}))
    for name, call in ("one", drive.files().get(fileId="f7")), ("two", drive.files().list()):
        # In a batch, what the endpoint begins with would be part of Google's paths.
        call.uri = call.uri.replace("/proxy/google", "")
        batch.add(call, request_id=name)
    batch._batch_uri = proxy + "google/batch/drive/v3"
    batch.execute()
    assert answers["one"][0]["id"] == "f7" and answers["two"][0]["files"], answers
    assert drive.permissions().list(fileId="f1").execute()["permissions"][0]["id"]
    assert drive.files().export(fileId="f1", mimeType="text/plain").execute() == b"mock"
    assert drive.changes().getStartPageToken().execute()["startPageToken"]
    assert drive.about().get(fields="user").execute()["user"]["emailAddress"]
    gmail = service("gmail", "v1", "")
    message = gmail.users().messages().list(userId="me").execute()["messages"][0]
    assert message["threadId"]
    whole = gmail.users().messages().get(userId="me", id=message["id"]).execute()
    assert whole["payload"]["headers"][0]["name"] and whole["snippet"] and whole["id"] == message["id"]
    assert gmail.users().labels().list(userId="me").execute()["labels"][0]["name"]
    assert gmail.users().getProfile(userId="me").execute()["emailAddress"]
    attachments = gmail.users().messages().attachments()
    assert attachments.get(userId="me", messageId="m1", id="a1").execute()["data"]
    assert gmail.users().messages().send(userId="me", body={"raw": "aGk"}).execute()["id"]
    sheets = service("sheets", "v4", "")
    values = sheets.spreadsheets().values().get(spreadsheetId="s1", range="A1:B2").execute()
    assert values["values"][0][0] and values["range"]
    ranges = sheets.spreadsheets().values().batchGet(spreadsheetId="s1", ranges=["A1"]).execute()
    assert ranges["valueRanges"][0]["values"]
    rows = {"spreadsheetId": "s1", "range": "A1", "valueInputOption": "RAW", "body": {"values": [[1]]}}
    assert sheets.spreadsheets().values().append(**rows).execute()["updates"]["updatedRows"] == 1
    assert sheets.spreadsheets().batchUpdate(spreadsheetId="s1", body={}).execute()["replies"]
    query = service("bigquery", "v2", "bigquery/v2/").jobs().query(projectId="p", body={"query": "SELECT 1"})
    assert query.execute()["rows"] and query.execute()["jobComplete"]
    objects = service("storage", "v1", "storage/v1/").objects()
    assert objects.list(bucket="b").execute()["items"][0]["bucket"] == "b"
    assert sheets.spreadsheets().get(spreadsheetId="s1").execute()["sheets"][0]["properties"]["title"]


def microsoft():
    me = raw("GET", "microsoft/v1.0/me").json()
    assert me["userPrincipalName"] and me["displayName"]
    page = raw("GET", "microsoft/v1.0/me/messages").json()
    message = page["value"][0]
    assert page["@odata.context"] and message["subject"] and message["from"]["emailAddress"]["address"]
    assert message["bodyPreview"] and message["receivedDateTime"] and message["isRead"] is False
    assert raw("GET", "microsoft/v1.0/me/messages/m1").json()["id"] == "m1"
    event = raw("GET", "microsoft/v1.0/me/events").json()["value"][0]
    assert event["start"]["dateTime"] and event["organizer"]["emailAddress"]["name"]
    assert raw("GET", "microsoft/v1.0/users").json()["value"][0]["mail"]
    item = raw("GET", "microsoft/v1.0/me/drive/root/children").json()["value"][0]
    assert item["name"] and "size" in item
    assert raw("GET", "microsoft/v1.0/me/joinedTeams").json()["value"][0]["displayName"]
    assert raw("GET", "microsoft/v1.0/users/delta()").json()["value"] == []
    assert raw("GET", "microsoft/v1.0/drives/d/items/i/children").json()["value"][0]["name"]
    made = raw("POST", "microsoft/v1.0/me/events", json={"subject": "Roof"})
    assert (made.status_code, made.json()["subject"]) == (201, "Roof")
    assert raw("POST", "microsoft/v1.0/me/sendMail", json={"message": {}}).status_code == 202
    assert raw("GET", "microsoft/v1.0/me/messages/$count").text == "2"
    session = raw("POST", "microsoft/v1.0/me/drive/root:/a.txt:/createUploadSession", json={}).json()
    assert session["uploadUrl"].startswith(proxy) and session["expirationDateTime"]
    put = httpx.put(session["uploadUrl"], content=b"hello", headers={"Content-Range": "bytes 0-4/5"})
    assert put.status_code == 201 and put.json()["id"], put.text
    batch = {"requests": [{"id": "1", "method": "GET", "url": "/me"},
                          {"id": "2", "method": "GET", "url": "/me/messages"}]}
    answers = raw("POST", "microsoft/v1.0/$batch", json=batch).json()["responses"]
    assert [(one["id"], one["status"]) for one in answers] == [("1", 200), ("2", 200)]


def jira():
    from jira import JIRA
    client = JIRA(server=proxy + "jira", token_auth=key, max_retries=0, get_server_info=True)
    assert client.myself()["accountId"]
    issue = client.issue("ACME-7")
    assert issue.key == "ACME-7" and issue.fields.summary and issue.fields.status.name
    assert issue.fields.project.key and issue.fields.issuetype.name and issue.fields.assignee.displayName
    found = client.enhanced_search_issues("project = ACME") if hasattr(client, "enhanced_search_issues") else []
    assert found and found[0].fields.summary
    assert [project.key for project in client.projects()]
    assert client.project("ACME").key == "ACME"
    assert client.comments("ACME-7")[0].body
    assert client.transitions("ACME-7")[0]["name"]
    assert [user.displayName for user in client.search_users(query="m")]
    assert client.project_versions("ACME")[0].name and client.project_components("ACME")[0].name
    assert client.worklogs("ACME-7")[0].timeSpent and client.watchers("ACME-7").watchCount == 1
    assert client.issue_link_types()[0].name and client.sprints(1)[0].name and client.favourite_filters()
    assert client.add_attachment("ACME-7", io.BytesIO(b"x"), filename="a.txt").size == 1
    made = client.create_issue({"project": {"key": "ACME"}, "summary": "Roof", "issuetype": {"name": "Task"}})
    assert made.key and made.id
    assert client.add_comment("ACME-7", "hello").body
    page = raw("GET", "jira/rest/api/3/search/jql?jql=project=ACME").json()
    assert page["issues"][0]["fields"]["summary"] and page["isLast"] is True


def notion():
    from notion_client import Client
    client = Client(auth=key, base_url=proxy + "notion")
    page = client.pages.retrieve(page_id="00000000-0000-4000-8000-0000000000aa")
    assert page["object"] == "page" and page["properties"] and page["parent"] and page["url"]
    assert page["id"] == "00000000-0000-4000-8000-0000000000aa"
    found = client.search(query="roof")
    assert found["results"][0]["object"] == "page" and found["has_more"] is False
    rows = client.request(path="databases/00000000-0000-4000-8000-0000000000bb/query", method="POST")
    assert rows["results"][0]["object"] == "page"
    rows = client.data_sources.query(data_source_id="00000000-0000-4000-8000-0000000000bb")
    assert rows["results"][0]["properties"]
    database = client.databases.retrieve(database_id="00000000-0000-4000-8000-0000000000bb")
    assert database["object"] == "database" and database["title"][0]["plain_text"]
    block = client.blocks.children.list(block_id=page["id"])["results"][0]
    assert block["object"] == "block" and block["paragraph"]["rich_text"]
    user = client.users.list()["results"][0]
    assert user["object"] == "user" and user["name"]
    assert client.users.me()["object"] == "user"
    made = client.pages.create(parent={"page_id": page["id"]}, properties={})
    assert made["object"] == "page" and made["id"]


def linear():
    def ask(query, **variables):
        answer = raw("POST", "linear/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer and answer["extensions"]["mock"] is True
        return answer["data"]

    assert set(ask("{ viewer { id name email } }")["viewer"]) == {"id", "name", "email"}
    issues = ask("""query Issues($n: Int) {
        open: issues(first: $n) { nodes { id title priority ...Who } pageInfo { hasNextPage endCursor } } }
        fragment Who on Issue { assignee { name isMe: active } createdAt }""", n=2)["open"]
    assert set(issues) == {"nodes", "pageInfo"} and issues["pageInfo"]["hasNextPage"] is False
    first = issues["nodes"][0]
    assert set(first) == {"id", "title", "priority", "assignee", "createdAt"}
    assert isinstance(first["priority"], (int, float)) and set(first["assignee"]) == {"name", "isMe"}
    assert ask('query { issue(id: "ABC-1") { id team { key } } }')["issue"]["team"]["key"]
    made = ask("""mutation($input: IssueCreateInput!) {
        issueCreate(input: $input) { success issue { id title } lastSyncId } }""",
        input={"title": "Roof", "teamId": "t"})["issueCreate"]
    assert made["success"] is True and made["issue"]["title"]
    assert ask("{ __typename organization { __typename urlKey } }")["organization"]["urlKey"]


def hubspot():
    from hubspot import HubSpot
    from hubspot.crm.contacts import PublicObjectSearchRequest, SimplePublicObjectInputForCreate
    contacts = HubSpot(access_token=key, host=proxy + "hubspot").crm.contacts
    page = contacts.basic_api.get_page(limit=2)
    assert page.results[0].properties["email"] and page.results[0].created_at.year and page.paging is None
    assert contacts.basic_api.get_by_id("17").id == "17"
    assert contacts.search_api.do_search(PublicObjectSearchRequest()).total == 2
    new = SimplePublicObjectInputForCreate(properties={"email": "roof@example.com"}, associations=[])
    assert contacts.basic_api.create(new).properties["email"] == "roof@example.com"
    several = contacts.batch_api
    assert several.create({"inputs": [{"properties": {}, "associations": []}]}).results[0].id == "19"
    assert several.update({"inputs": [{"id": "17", "properties": {}}]}).results[0].id == "17"
    assert several.archive_with_http_info({"inputs": [{"id": "17"}]})[1] == 204


def salesforce():
    import requests
    from simple_salesforce import Salesforce

    class Gate(requests.adapters.HTTPAdapter):
        def send(self, request, **kwargs):
            request.url = proxy + "salesforce" + request.path_url
            return super().send(request, **kwargs)

    session = requests.Session()
    session.mount("https://", Gate())
    client = Salesforce(instance="acme.my.salesforce.com", session_id=key, session=session)
    found = client.query("SELECT Id, Name FROM Account")
    assert found["totalSize"] == 2 and found["done"] is True and found["records"][0]["Name"]
    assert found["records"][0]["attributes"]["type"] == "Account"
    assert list(client.query_all_iter("SELECT Id FROM Contact"))[0]["attributes"]["type"] == "Contact"
    assert client.Account.get("001000000000001AAA")["Id"] == "001000000000001AAA"
    made = client.Account.create({"Name": "Roofers"})
    assert made["success"] is True and made["id"] and made["errors"] == []
    assert client.Account.update("001000000000001AAA", {"Name": "x"}) == 204
    assert client.Account.delete("001000000000001AAA") == 204
    assert client.describe()["sobjects"][0]["name"] and client.Account.describe()["fields"][0]["name"]
    assert client.limits()["DailyApiRequests"]["Max"]
    assert client.bulk.Account.insert([{"Name": "Roofers"}])[0]["success"] is True
    client.set_password("005000000000001AAA", "secret")
    jobs = client.bulk2.Account.insert(records=[{"Name": "Roofers"}])
    assert jobs[0]["job_id"] and jobs[0]["numberRecordsProcessed"] == 1
    assert "Mock" in next(client.bulk2.Account.query("SELECT Id, Name FROM Account"))


def aws():
    import boto3
    from botocore.config import Config

    def service(name, client=None):
        return boto3.client(
            client or name, endpoint_url=f"{proxy}aws/{name}", region_name="eu-west-1",
            aws_access_key_id=aws_id, aws_secret_access_key=aws_secret,
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    s3 = service("s3")
    listed = s3.list_buckets()
    assert listed["Buckets"][0]["Name"] and listed["Buckets"][0]["CreationDate"].year
    assert listed["ResponseMetadata"]["HTTPHeaders"]["x-agentgate-testmode"] == "true"
    page = s3.list_objects_v2(Bucket="b")
    assert page["Contents"][0]["Key"] and page["Name"] == "b" and page["IsTruncated"] is False
    assert s3.get_object(Bucket="b", Key="k")["Body"].read()
    assert s3.head_object(Bucket="b", Key="k")["ContentLength"] >= 0
    assert s3.get_bucket_location(Bucket="b")["LocationConstraint"]
    assert s3.put_object(Bucket="b", Key="k", Body=b"x")["ETag"]
    assert s3.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "k"}]}) is not None
    s3.delete_object(Bucket="b", Key="k")
    upload = s3.create_multipart_upload(Bucket="b", Key="k")["UploadId"]
    assert upload
    assert s3.get_bucket_tagging(Bucket="b")["TagSet"] and s3.get_object_tagging(Bucket="b", Key="k")["TagSet"]
    s3.get_bucket_acl(Bucket="b")
    service("route53").list_hosted_zones()
    service("cloudfront").list_distributions()
    service("monitoring", "cloudwatch").list_metrics()
    assert service("sts").get_caller_identity()["Account"]
    dynamodb = service("dynamodb")
    assert dynamodb.list_tables()["TableNames"]
    assert dynamodb.describe_table(TableName="t")["Table"]["TableName"] == "t"
    assert dynamodb.get_item(TableName="t", Key={"id": {"S": "1"}})["Item"]["id"]["S"]
    assert dynamodb.query(TableName="t", KeyConditionExpression="id = :i",
                          ExpressionAttributeValues={":i": {"S": "1"}})["Count"] == 1
    assert dynamodb.scan(TableName="t")["Items"]
    dynamodb.put_item(TableName="t", Item={"id": {"S": "1"}})
    assert service("sqs").list_queues()["QueueUrls"]
    assert service("lambda").list_functions()["Functions"][0]["FunctionName"]
    assert service("ec2").describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    assert service("iam").list_users()["Users"][0]["UserName"]
    assert service("sns").list_topics()["Topics"][0]["TopicArn"]
    assert service("iam").get_role(RoleName="r")["Role"]["RoleName"] == "r"
    assert service("rds").describe_db_instances()["DBInstances"] and service("eks").list_clusters()["clusters"]
    assert service("cloudformation").describe_stacks()["Stacks"][0]["StackName"]
    assert service("ssm").get_parameter(Name="/n")["Parameter"]["Name"] == "/n"
    assert service("kms").decrypt(CiphertextBlob=b"x")["Plaintext"] == b"mock"
    assert service("secretsmanager").get_secret_value(SecretId="s")["SecretString"]
    assert s3.get_object_attributes(Bucket="b", Key="k", ObjectAttributes=["ETag"])["ETag"]
    said = {"role": "user", "content": [{"text": "hello"}]}
    assert service("bedrock-runtime").converse(modelId="m", messages=[said])["output"]["message"]["content"]
    assert service("secretsmanager").list_secrets()["SecretList"] is not None


failed = False
for name in ["github", "slack", "google", "microsoft", "jira", "notion", "linear", "hubspot",
             "salesforce", "aws"]:
    try:
        globals()[name]()
        print(f"{name}: ok")
    except Exception:
        failed = True
        print(f"{name}: failed\n{traceback.format_exc(limit=-3)}")
sys.exit(failed)
