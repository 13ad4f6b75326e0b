"""Every reason that a condition, a step or an event may give, and what a user can do about it."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One word for machines and for the STATE column of ``kubectl get``."""

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
    # why it cannot go on
    INVALID_SPEC = "InvalidSpec"
    WORKSPACE_NOT_SHARED = "WorkspaceNotShared"
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
    STOPPED = "Stopped"
    ERROR = "Error"
    DISRUPTED_TOO_OFTEN = "DisruptedTooOften"
    PRE_RUNNING_DEADLINE_EXCEEDED = "PreRunningDeadlineExceeded"
    # events alone
    STEP_STARTED = "StepStarted"
    STEP_SUCCEEDED = "StepSucceeded"
    STEP_RESTARTING = "StepRestarting"
    RESUMED = "Resumed"
    CONDITIONS_REMOVED = "ConditionsRemoved"


WHAT_TO_DO: dict[Reason, str] = {
    Reason.PENDING: "Nothing: the experiment has been seen and is about to start.",
    Reason.RUNNING: "Nothing: a step runs.",
    Reason.QUEUED: "Nothing, or look at the Workload and the quota of the LocalQueue: nothing has been granted yet.",
    Reason.STOPPING: "Nothing: running steps write a checkpoint and end.",
    Reason.FAILING: "Read the message: one pod of the step has failed, and the others are being stopped.",
    Reason.WAITING: "Nothing: the next attempt starts at nextAttemptTime.",
    Reason.SUSPENDED: "Set spec.suspend to false to go on where it stopped.",
    Reason.SUCCEEDED: "Nothing: read status.metrics, status.modelPath and status.exportPath.",
    Reason.FAILED: "Read what the failed steps say, correct the cause, then suspend and resume, or change the spec.",
    Reason.INVALID_SPEC: "Correct the fields that the message names and apply the manifest again.",
    Reason.WORKSPACE_NOT_SHARED: "Use a ReadWriteMany claim, or train on one node.",
    Reason.STEP_FAILED: "Read its message and log, correct the cause, then change the spec, or suspend and resume.",
    Reason.DEADLINE_EXCEEDED: "Raise activeDeadlineSeconds of the spec, or of the step that the message names, then "
    "suspend and resume.",
    Reason.STATUS_REFUSED: "Read the API server's answer in the message: a value or a size that it does not take. "
    "The steps stay as they were last written, and the write is tried again at least every minute.",
    Reason.STATUS_UNREADABLE: "Run the release of the operator that has written the status, or a later one.",
    Reason.API_SERVER_ERROR: "Look at the API server, whose last answer the message names; the operator keeps trying.",
    Reason.CONVERTING: "Nothing: the data set is being converted.",
    Reason.TRAINING: "Nothing: follow status.progress.",
    Reason.EVALUATING: "Nothing: the model is being evaluated.",
    Reason.PRUNING: "Nothing: the model is being pruned.",
    Reason.INFERRING: "Nothing: the model runs on the images.",
    Reason.EXPORTING: "Nothing: the model is being exported.",
    Reason.STARTING: "Nothing; if it lasts, read the step's reason and message.",
    Reason.UNSCHEDULABLE: "Give the cluster what the message says it lacks, or ask for less: resources, nodeSelector, "
    "affinity, tolerations; the claim must be bound.",
    Reason.SCHEDULING_GATED: "Nothing, or look at who put a scheduling gate on the pods.",
    Reason.IMAGE_PULL_BACK_OFF: "Correct image, or give podOverrides.imagePullSecrets: the attempt is replaced.",
    Reason.INVALID_IMAGE_NAME: "Correct image: the attempt is replaced.",
    Reason.CREATE_CONTAINER_CONFIG_ERROR: "Look for the Secret and key that the message names; the pod goes on by "
    "itself once it is there.",
    Reason.CREATE_CONTAINER_ERROR: "Look at the message: the node could not make the container (mounts, "
    "subPath, runtime).",
    Reason.CRASH_LOOP_BACK_OFF: "Read the log of the sidecar that the message names (kubectl logs POD -c CONTAINER).",
    Reason.FAILED_CREATE: "Correct what the message names: a quota, a LimitRange, a Pod Security Standard, a missing "
    "ServiceAccount or PriorityClass; the Job controller keeps trying.",
    Reason.FAILED_MOUNT: "Correct the volume that the message names: a missing Secret, ConfigMap or claim, a server "
    "that does not answer; the kubelet keeps trying.",
    Reason.FAILED_ATTACH_VOLUME: "Look at the volume that the message names: another node holds it, or its driver "
    "fails.",
    Reason.FAILED_CREATE_POD_SANDBOX: "Look at the node's network plug-in and container runtime.",
    Reason.WORKLOAD_DEACTIVATED: "Remove the cause that the message names, then set spec.active of the Job's Workload "
    "to true, or suspend and resume, which makes a new attempt.",
    Reason.WAITING_FOR_STEPS: "Nothing: the steps that the message names have to succeed first.",
    Reason.WAITING_FOR_TURN: "Nothing, or allow more steps at a time: a ReadWriteMany claim, or --jobs locally.",
    Reason.WAITING_FOR_PODS: "Nothing; if it lasts, look at the pods that do not end.",
    Reason.WAITING_FOR_CLAIM: "Create the claim that spec.workspace names, or correct its name; the operator must be "
    "allowed to read claims.",
    Reason.UPSTREAM_FAILED: "Correct the failed step that the message names.",
    Reason.UPSTREAM_CHANGED: "Nothing: steps that consume an old result end before it is made again.",
    Reason.BACK_OFF: "Nothing, or read the message of the last attempt: the next starts at nextAttemptTime.",
    Reason.DISRUPTED: "Nothing: the node or the scheduler ended the attempt; it is not counted.",
    Reason.RUN_LOST: "Nothing: the attempt vanished and is made again; look for who deletes Jobs if it repeats.",
    Reason.RESULT_UNREADABLE: "Nothing: the step is started again and finds its result.",
    Reason.SPEC_CHANGED: "Nothing: the attempt of the old spec ends before the new one starts.",
    Reason.TEMPLATE_CHANGED: "Nothing: the attempt never ran; one of the new spec takes its place and is not counted.",
    Reason.NAME_TAKEN: "Remove the object of that name, which belongs to another controller or user.",
    Reason.JOB_REFUSED: "Correct what the message names (podOverrides, quota, an admission policy) and apply it again.",
    Reason.NODE_LOST: "Remove the node, or set its out-of-service taint.",
    Reason.JOB_RELABELED: "Put back the labels and the owner of the Job that the message names, or delete the Job; "
    "other steps continue.",
    Reason.COMPLETED: "Nothing: the step has succeeded.",
    Reason.UP_TO_DATE: "Nothing: the result was there already. Change the step's revision to make it again.",
    Reason.INVALID_INPUT: "Correct the spec or the data that the message names; trying again would fail again.",
    Reason.TRY_AGAIN: "Look at what failed outside the step (a lost peer, the network), then suspend and resume.",
    Reason.OUT_OF_MEMORY: "Give the step more memory, or lower imageSize or trainBatchSize.",
    Reason.WORKSPACE_FULL: "Free space in the workspace or enlarge it, then suspend and resume.",
    Reason.STOPPED: "Nothing: the attempt was asked to stop and goes on from its checkpoint.",
    Reason.ERROR: "Read the step's log.",
    Reason.DISRUPTED_TOO_OFTEN: "Find out what ends the pods (preemption, evictions), then suspend and resume.",
    Reason.PRE_RUNNING_DEADLINE_EXCEEDED: "Look at the pods' scheduling, or raise spec.preRunningDeadlineSeconds.",
    Reason.STEP_STARTED: "Nothing.",
    Reason.STEP_SUCCEEDED: "Nothing.",
    Reason.STEP_RESTARTING: "Nothing, or read the message of the last attempt.",
    Reason.RESUMED: "Nothing.",
    Reason.CONDITIONS_REMOVED: "Let other controllers write fewer or shorter conditions into the experiment.",
}
"""What a user can do about each reason; complete, which a test holds."""
