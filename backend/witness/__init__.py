"""A witness: a small process outside the lender and the platform that lets no log tell two stories.

It stands on `protocol` alone, so that whoever runs one needs to trust nothing else of this project.

Example:
    $ tbox backend witness init --home /srv/witness --name witness.example/w1 --log "log.example/tbox+…"
    $ tbox backend witness run --home /srv/witness --port 8090
"""
