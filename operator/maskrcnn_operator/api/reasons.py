"""Reasons of conditions, steps, and events, and what a user can do about each."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason in one word, for programs and for the STATE column of ``kubectl get``."""

    # the experiment
    PENDING = "Pending"
    RUNNING = "Running"
    QUEUED = "Queued"
    STOPPING = "Stopping"
    FAILING = "Failing"
    WAITING = "Waiting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    # an experiment that is stalled or cannot be written
    INVALID_SPEC = "InvalidSpec"
    WORKSPACE_NOT_SHARED = "WorkspaceNotShared"
    CACHE_NOT_SHARED = "CacheNotShared"
    STEP_FAILED = "StepFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    STATUS_REFUSED = "StatusRefused"
    STATUS_UNREADABLE = "StatusUnreadable"
    API_SERVER_ERROR = "ApiServerError"
    # a step that runs
    CONVERTING = "Converting"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    PRUNING = "Pruning"
    INFERRING = "Inferring"
    EXPORTING = "Exporting"
    PUBLISH_DELAYED = "PublishDelayed"
    STARTING = "Starting"
    # a step whose pods cannot start
    UNSCHEDULABLE = "Unschedulable"
    SCHEDULING_GATED = "SchedulingGated"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    INVALID_IMAGE_NAME = "InvalidImageName"
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    CREATE_CONTAINER_ERROR = "CreateContainerError"
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"
    FAILED_CREATE = "FailedCreate"
    FAILED_MOUNT = "FailedMount"
    FAILED_ATTACH_VOLUME = "FailedAttachVolume"
    FAILED_CREATE_POD_SANDBOX = "FailedCreatePodSandBox"
    # a step that waits
    WORKLOAD_DEACTIVATED = "WorkloadDeactivated"
    WAITING_FOR_STEPS = "WaitingForSteps"
    WAITING_FOR_TURN = "WaitingForTurn"
    WAITING_FOR_PODS = "WaitingForPods"
    WAITING_FOR_CLAIM = "WaitingForClaim"
    OWNER_UNKNOWN = "OwnerUnknown"
    UPSTREAM_FAILED = "UpstreamFailed"
    UPSTREAM_CHANGED = "UpstreamChanged"
    BACK_OFF = "BackOff"
    DISRUPTED = "Disrupted"
    RUN_LOST = "RunLost"
    RESULT_UNREADABLE = "ResultUnreadable"
    SPEC_CHANGED = "SpecChanged"
    TEMPLATE_CHANGED = "TemplateChanged"
    NAME_TAKEN = "NameTaken"
    JOB_REFUSED = "JobRefused"
    NODE_LOST = "NodeLost"
    JOB_RELABELED = "JobRelabeled"
    # a step that ended
    COMPLETED = "Completed"
    UP_TO_DATE = "UpToDate"
    INVALID_INPUT = "InvalidInput"
    TRY_AGAIN = "TryAgain"
    OUT_OF_MEMORY = "OutOfMemory"
    WORKSPACE_FULL = "WorkspaceFull"
    CACHE_FULL = "CacheFull"
    STORE_REFUSED = "StoreRefused"
    STORE_PERMISSION_DENIED = "StorePermissionDenied"
    BUCKET_NOT_FOUND = "BucketNotFound"
    CONDITIONAL_WRITES_MISSING = "ConditionalWritesMissing"
    ANOTHERS_OWNER = "AnothersOwner"
    SUPERSEDED = "Superseded"
    STORE_UNAVAILABLE = "StoreUnavailable"
    RESULTS_DELETED = "ResultsDeleted"
    POINTER_DELETED = "PointerDeleted"
    INPUT_CHANGED = "InputChanged"
    STOPPED = "Stopped"
    ERROR = "Error"
    DISRUPTED_TOO_OFTEN = "DisruptedTooOften"
    PRE_RUNNING_DEADLINE_EXCEEDED = "PreRunningDeadlineExceeded"
    # events only
    STEP_STARTED = "StepStarted"
    STEP_SUCCEEDED = "StepSucceeded"
    REPORT_WRITTEN = "ReportWritten"
    STEP_RESTARTING = "StepRestarting"
    RESUMED = "Resumed"
    CONDITIONS_REMOVED = "ConditionsRemoved"


WHAT_TO_DO: dict[Reason, str] = {
    Reason.PENDING: "Nothing: the experiment is about to start.",
    Reason.RUNNING: "Nothing: a step is running.",
    Reason.QUEUED: "Nothing: Kueue has not admitted the Job yet. If this lasts more than a few minutes, check the "
    "Workload and the quota of the LocalQueue.",
    Reason.STOPPING: "Nothing: running steps write a checkpoint and exit.",
    Reason.FAILING: "Read the message: a pod of the step has failed, and the others are being stopped.",
    Reason.WAITING: "Nothing: the next attempt starts at nextAttemptTime.",
    Reason.SUSPENDED: "Set spec.suspend to false to resume the experiment.",
    Reason.SUCCEEDED: "Nothing: the results are in status.metrics, status.modelPath, and status.exportPath.",
    Reason.FAILED: "Read the messages of the failed steps, fix the cause, then suspend and resume, or change the spec.",
    Reason.INVALID_SPEC: "Correct the fields that the message names, and apply the manifest again.",
    Reason.WORKSPACE_NOT_SHARED: "Use a ReadWriteMany claim, or train on one node.",
    Reason.CACHE_NOT_SHARED: "Use a ReadWriteMany claim or sizeLimit in spec.cache, or train on one node.",
    Reason.STEP_FAILED: "Read the step's message and log, fix the cause, then change the spec, or suspend and resume.",
    Reason.DEADLINE_EXCEEDED: "Increase activeDeadlineSeconds of the spec, or of the step that the message names, "
    "then suspend and resume.",
    Reason.STATUS_REFUSED: "Read the API server's error in the message: it does not accept a value or a size. The "
    "steps stay as they were last written, and the write is retried at least every minute.",
    Reason.STATUS_UNREADABLE: "Run the release of the operator that wrote the status, or a later one.",
    Reason.API_SERVER_ERROR: "Check the API server; the message has its last answer. The operator keeps trying.",
    Reason.CONVERTING: "Nothing: the data set is being converted.",
    Reason.TRAINING: "Nothing: status.progress shows how far the training is.",
    Reason.EVALUATING: "Nothing: the model is being evaluated.",
    Reason.PRUNING: "Nothing: the model is being pruned.",
    Reason.INFERRING: "Nothing: the model is running on the images.",
    Reason.EXPORTING: "Nothing: the model is being exported.",
    Reason.STARTING: "Nothing; if this lasts more than a few minutes, read the step's reason and message.",
    Reason.UNSCHEDULABLE: "Add the resources that the message names to the cluster, or request less: check resources, "
    "nodeSelector, affinity, and tolerations. The claim must be bound.",
    Reason.SCHEDULING_GATED: "Nothing; if this lasts more than a few minutes, find out which controller has "
    "set the scheduling gate.",
    Reason.IMAGE_PULL_BACK_OFF: "Correct image, or set podOverrides.imagePullSecrets; the attempt is then replaced.",
    Reason.INVALID_IMAGE_NAME: "Correct image; the attempt is then replaced.",
    Reason.CREATE_CONTAINER_CONFIG_ERROR: "Create the Secret or key that the message names; the pod then starts by "
    "itself.",
    Reason.CREATE_CONTAINER_ERROR: "Read the message: the node could not create the container (mounts, subPath, "
    "runtime).",
    Reason.CRASH_LOOP_BACK_OFF: "Read the log of the sidecar that the message names (kubectl logs POD -c CONTAINER).",
    Reason.FAILED_CREATE: "Fix the cause that the message names: a quota, a LimitRange, a Pod Security Standard, a "
    "missing ServiceAccount or PriorityClass. The Job controller keeps trying.",
    Reason.FAILED_MOUNT: "Fix the volume that the message names: a Secret, ConfigMap, or claim is missing, or a server "
    "does not answer. The kubelet keeps trying.",
    Reason.FAILED_ATTACH_VOLUME: "Check the volume that the message names: it is attached to another node, or its "
    "driver fails.",
    Reason.FAILED_CREATE_POD_SANDBOX: "Check the network plugin and the container runtime of the node.",
    Reason.WORKLOAD_DEACTIVATED: "Fix the cause that the message names, then set spec.active of the Job's Workload to "
    "true, or suspend and resume, which starts a new attempt.",
    Reason.WAITING_FOR_STEPS: "Nothing: the steps that the message names must succeed first.",
    Reason.WAITING_FOR_TURN: "Nothing, or allow more steps at a time: a ReadWriteMany claim, or --jobs on a single "
    "machine.",
    Reason.WAITING_FOR_PODS: "Nothing; if this lasts more than a few minutes, check the pods that do not end.",
    Reason.WAITING_FOR_CLAIM: "Create the claim that the message names, or correct its name. The operator must have "
    "permission to read claims.",
    Reason.OWNER_UNKNOWN: "Give the operator permission to get the experiment's namespace (the chart's roles have it), "
    "or set objectStorage.ownerId in the chart.",
    Reason.PUBLISH_DELAYED: "Check the store and the way to it (network, proxy, DNS, a key that has expired). The "
    "training continues, and its newest checkpoint is published once the store answers.",
    Reason.UPSTREAM_FAILED: "Fix the failed step that the message names.",
    Reason.UPSTREAM_CHANGED: "Nothing: steps that use the old result end before the step runs again.",
    Reason.BACK_OFF: "Nothing: the next attempt starts at nextAttemptTime. The message is that of the last attempt.",
    Reason.DISRUPTED: "Nothing: the node or the scheduler ended the attempt, which does not count.",
    Reason.RUN_LOST: "Nothing: the attempt is gone and is repeated. If this happens often, find out what deletes Jobs.",
    Reason.RESULT_UNREADABLE: "Nothing: the step starts again and finds its result.",
    Reason.SPEC_CHANGED: "Nothing: the attempt of the old spec ends before the new one starts.",
    Reason.TEMPLATE_CHANGED: "Nothing: an attempt with the new spec replaces it and does not count.",
    Reason.NAME_TAKEN: "Remove the object of that name, which belongs to another controller or user.",
    Reason.JOB_REFUSED: "Fix the cause that the message names (podOverrides, a quota, an admission policy), and apply "
    "the manifest again.",
    Reason.NODE_LOST: "Delete the node from the cluster, or set its out-of-service taint.",
    Reason.JOB_RELABELED: "Restore the labels and the owner of the Job that the message names, or delete the Job. "
    "Other steps continue.",
    Reason.COMPLETED: "Nothing: the step has succeeded.",
    Reason.UP_TO_DATE: "Nothing: the result already exists. Change the step's revision to run the step again.",
    Reason.INVALID_INPUT: "Correct the spec or the data that the message names; a retry would fail again.",
    Reason.TRY_AGAIN: "Check what failed outside the step (a lost peer, the network), then suspend and resume.",
    Reason.OUT_OF_MEMORY: "Give the step more memory, or decrease imageSize or trainBatchSize.",
    Reason.WORKSPACE_FULL: "Free space on the volume that the message names, or enlarge it; in object storage, "
    "increase sizeLimit of spec.workspace.objectStorage.scratch. Then suspend and resume.",
    Reason.CACHE_FULL: "Increase sizeLimit of spec.cache, or enlarge its claim, then suspend and resume.",
    Reason.STORE_REFUSED: "Correct what the message names: the keys in the Secret, the role of the service account, "
    "the URL, or an entry of spec.objectStores. Then suspend and resume.",
    Reason.STORE_PERMISSION_DENIED: "Grant the permissions that the message names to the identity of the Secret, or "
    "of the service account, then suspend and resume.",
    Reason.BUCKET_NOT_FOUND: "Create the bucket, or correct its name, region, or endpoint, then suspend and resume.",
    Reason.CONDITIONAL_WRITES_MISSING: "Use a store that has conditional writes; a claim works, too.",
    Reason.ANOTHERS_OWNER: "If the other owner may lose its results, set takeOverFrom of "
    "spec.workspace.objectStorage to the value in the message; otherwise use another url or another name.",
    Reason.SUPERSEDED: "Nothing, unless it repeats: then another experiment or machine writes the same results. Do "
    "what the message names.",
    Reason.STORE_UNAVAILABLE: "Check the address that the message names and the way to it (networkPolicy.objectStores, "
    "proxy, DNS, a key that has expired), then suspend and resume. What the attempts have loaded into a cache that "
    "lasts is not loaded again.",
    Reason.RESULTS_DELETED: "To start the step again from the beginning, run the experiment again, suspend and resume, "
    "or change the step's revision.",
    Reason.POINTER_DELETED: "To start the step again from the beginning, run the experiment again, suspend and resume, "
    "or change the step's revision. Delete results with maskrcnn-operator artifacts.",
    Reason.INPUT_CHANGED: "Find out what writes below the URL that the message names, and suspend and resume once it "
    "has ended.",
    Reason.STOPPED: "Nothing: the attempt was stopped, and the next one resumes from its checkpoint.",
    Reason.ERROR: "Read the step's log.",
    Reason.DISRUPTED_TOO_OFTEN: "Find out what ends the pods (preemption, evictions), then suspend and resume.",
    Reason.PRE_RUNNING_DEADLINE_EXCEEDED: "Find out why the pods did not start, or increase "
    "spec.preRunningDeadlineSeconds.",
    Reason.STEP_STARTED: "Nothing.",
    Reason.STEP_SUCCEEDED: "Nothing.",
    Reason.REPORT_WRITTEN: "Copy the page from the claim (kubectl cp) or the bucket (maskrcnn-operator artifacts), "
    "and open it in a browser.",
    Reason.STEP_RESTARTING: "Nothing, or read the message of the last attempt.",
    Reason.RESUMED: "Nothing.",
    Reason.CONDITIONS_REMOVED: "Make other controllers write fewer or shorter conditions to the experiment.",
}
"""What a user can do about each reason."""
