"""Whether the sidecar of this container lives: exits with 0 if `/livez` of its admin port says so.

For engines that run an image's own health check; Kubernetes asks the port itself. Nothing of the
gateway is imported: it runs every half minute.
"""

import http.client
import os
import sys

admin = os.environ.get("INTERLOCK_ADMIN", "127.0.0.1:9090")
if admin == "none":
    sys.exit(0)
connection = http.client.HTTPConnection("127.0.0.1", int(admin.rpartition(":")[2]), timeout=3)
try:
    connection.request("GET", "/livez")
    sys.exit(connection.getresponse().status != 200)
except OSError:
    sys.exit(1)
