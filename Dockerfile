# The environment of requirements.lock as an image, for the checkout that is mounted at /multistep
# (docs/running.md). Another base needs Python 3.11 to 3.13 with venv, and make.
ARG BASE=docker.io/library/python:3.12
FROM ${BASE}
WORKDIR /multistep
COPY Makefile pyproject.toml requirements.lock README.md LICENSE ./
COPY src src
RUN make env VENV=/opt/multistep
ENV PATH=/opt/multistep/bin:$PATH
