# Serves the web page and the REST interface on a CPU; how to build and run it: docs/install.md.
FROM python:3.13-slim AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt .
# The index of CPU builds that pytorch.org names; empty: pip's own, with the CUDA libraries.
ARG TORCH_INDEX=
RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint constraints.txt \
        torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --constraint constraints.txt '.[web]'

FROM python:3.13-slim
COPY --from=build /opt/venv /opt/venv
RUN useradd --uid 1000 --create-home cascade
USER 1000
WORKDIR /home/cascade
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz')"]
ENTRYPOINT ["cascade-clip", "serve", "--host", "0.0.0.0"]
