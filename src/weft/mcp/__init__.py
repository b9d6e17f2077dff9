"""For agents: weft over the Model Context Protocol, in a sandbox, with jobs that outlive the server."""
