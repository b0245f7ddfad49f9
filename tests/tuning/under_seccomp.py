"""Executes a program under a container's seccomp profile: under_seccomp.py PROFILE PROGRAM ARGUMENT...

Needs the Python binding of libseccomp (Debian: python3-seccomp).
"""

import json
import os
import sys

import seccomp

with open(sys.argv[1], encoding="utf-8") as file:
    profile = json.load(file)
rules = seccomp.SyscallFilter(seccomp.ERRNO(profile["defaultErrnoRet"]))
for group in profile["syscalls"]:
    for name in group["names"]:
        # Some exist on other architectures only.
        if seccomp.resolve_syscall(seccomp.Arch(), name) >= 0:
            rules.add_rule(seccomp.ALLOW, name)
rules.load()
os.execv(sys.argv[2], sys.argv[2:])
