"""CDNetworks' VoD streaming API: `POST /api/cdn/v2/forwardRequest.action`, on the commands of restreams."""
