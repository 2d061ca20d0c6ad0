"""Strangers' files are read in processes of their own, which they may break (docs/adr/0016-strangers-files.md).

Ours: `children` starts them, `demuxing` and `pictures` ask them. Theirs: `zygote` forks them, `confined` bounds them,
`inside` is what they do. `wire` is what is said in between.
"""
