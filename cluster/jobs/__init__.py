"""Jobs of a Ray cluster: what is sent, under which name, followed to its end. It speaks to the job API and starts no Ray."""
