"""Untrusted files are read in child processes, so that they can break only those (docs/adr/0016-strangers-files.md).

In this process: `children` starts children, `demuxing`, `decoding` and `working` use them. On the other side: `zygote`
forks them, `confined` limits them, `inside` is their main loop. `wire` is the protocol in between.
"""
