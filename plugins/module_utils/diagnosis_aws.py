"""What AWS' refusals mean, whichever controller passes them on."""

from __future__ import annotations

import re

from .finding import Explanation

ACCESS_DENIED = re.compile(r"AccessDenied|UnauthorizedOperation|not authorized")
NO_TARGET_GROUP = re.compile(r"TargetGroupNotFound|target groups? .*not found", re.IGNORECASE)
_NOT_AUTHORIZED = re.compile(
    r"(?:User: )?(?P<user>arn:\S+) is not authorized to perform: (?P<action>\S+)"
    r"(?: on resource: (?P<resource>[^\s\"]+))?"
)
_ASSUME_ROLE = re.compile(r"AssumeRole\w*")


def iam_denied(said: str, key: str) -> Explanation:
    """Who may not do what to which resource; ``key`` names the resource where AWS does not."""
    if denied := _NOT_AUTHORIZED.search(said):
        resource, user, action = denied["resource"] or key, denied["user"], denied["action"].rstrip(":;,")
        because = f"IAM does not allow {user} {action}" + (f" on {resource}" if resource else "")
        # A session's ARN is not what policies are attached to: its role is.
        principal = re.sub(r":sts::(\d+):assumed-role/([^/]+)/.*", r":iam::\1:role/\2", user)
        command = f"aws iam simulate-principal-policy --policy-source-arn {principal} --action-names {action}"
        return Explanation(because, (), f"{command} --resource-arns {resource}" if resource else command)
    if _ASSUME_ROLE.search(said):
        because = "IAM does not let it assume its role: the role's trust policy does not name this ServiceAccount"
        return Explanation(because, (), "aws iam get-role --role-name … --query Role.AssumeRolePolicyDocument")
    return Explanation(f"AWS denies the access{f' to {key}' if key else ''}", (), "aws sts get-caller-identity")
