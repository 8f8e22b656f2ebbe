"""Renders the chart with Helm's own engine and checks the result against Kubernetes' own schemas.

Reads a request as JSON from standard input: {"chart", "kubernetes": [version…], "cases": [{"name",
"chart", "values"}…]}. Prints the answer as JSON: {"engine", "lint": [message…], "cases": [{"name",
"error", "documents": […], "invalid": [sentence…]}…]}. It judges nothing; chart.rs does.
"""

import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml


def documents(chart, values):
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        files = loaded.render(values, name="sakuramori", namespace="sakuramori")
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def invalid(document, version):
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{version} {document.get('kind')}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"{version}: no schema of {error.kind}"]
    return []


def answer(case, versions):
    told = {"name": case["name"], "error": None, "documents": [], "invalid": []}
    try:
        told["documents"] = documents(case["chart"], case["values"])
    except (helm.HelmError, yaml.YAMLError) as error:
        told["error"] = str(error)
    for document in told["documents"]:
        for version in versions:
            told["invalid"] += invalid(document, version)
    return told


def main():
    request = json.load(sys.stdin)
    lint = helm.lint(request["chart"], values=request["cases"][0]["values"])
    cases = [answer(case, request["kubernetes"]) for case in request["cases"]]
    engine = f"Helm {helm.helm_sdk_version()}"
    json.dump({"engine": engine, "lint": lint["messages"], "cases": cases}, sys.stdout)


main()
