#!/usr/bin/python
# Copyright: erp.platform contributors
# MIT License (see LICENSE)
"""Look for what the other modules need."""

from __future__ import annotations

DOCUMENTATION = r"""
module: controller_preflight
short_description: What is missing where the modules run
version_added: 0.1.0
description:
  - Looks for the Python packages and programs that the other modules need, and needs none of them itself.
  - Changes nothing and does not fail; it returns what is missing.
author: erp.platform maintainers (@erp)
extends_documentation_fragment:
  - erp.platform.read_only
options:
  python_packages:
    description: Requirements such as V(kubernetes>=31), looked up in the interpreter that runs the module.
    type: list
    elements: str
    default: []
  binaries:
    description: Programs that must be on the search path.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look for what the modules need
  erp.platform.controller_preflight:
    python_packages: ["kubernetes>=31", "boto3>=1.35"]
    binaries: [helm, aws]
  register: controller
"""

RETURN = r"""
problems:
  description: One text per thing that is missing, with what to do.
  type: list
  elements: str
  returned: always
missing_packages:
  description: Names of the Python packages among them.
  type: list
  elements: str
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.erp.platform.plugins.module_utils.controller_preflight import (
    missing_binaries,
    missing_packages,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "python_packages": {"type": "list", "elements": "str", "default": []},
            "binaries": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    packages = missing_packages(module.params["python_packages"])
    binaries = missing_binaries(module.params["binaries"], os.environ.get("PATH", os.defpath))
    module.exit_json(
        changed=False,
        problems=[str(problem) for problem in (*packages, *binaries)],
        missing_packages=[package.object.rpartition(" ")[2] for package in packages],
    )


if __name__ == "__main__":
    main()
