module maskrcnn.dev/tests/cluster/pause

go 1.26
