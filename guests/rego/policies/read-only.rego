package docker.authz

allow { input.Method = "GET" }
