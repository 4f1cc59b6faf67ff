"""The files that start clusters are what Ray's launcher, the clouds and KubeRay take; checked without any of them."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
from pathlib import Path

import botocore.session
import jsonschema
import pytest
import ray
import yaml
from botocore.validate import ParamValidator
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

import ray_advpose

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "launch" / "cluster"
PYPROJECT = (ROOT / "pyproject.toml").read_text()
IMAGE_ROOT = "/opt/ray_advpose"


def read(name):
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.fixture(params=["aws", "gcp"])
def cloud(request):
    return read(f"{request.param}.yaml")


def commands(content):
    """Every text in a file."""
    if isinstance(content, dict):
        content = content.values()
    elif isinstance(content, str):
        return [content]
    elif not isinstance(content, list):
        return []
    return [text for each in content for text in commands(each)]


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_rays_launcher_takes_them(name):
    filled = prepare_config(read(name))
    validate_config(filled)
    assert filled["setup_commands"] == [], "the launcher's own would install another Ray"


def test_the_schema_would_notice():
    config = prepare_config(read("aws.yaml"))
    config["available_node_types"]["spot_gpu"]["max_worker"] = 8
    with pytest.raises(jsonschema.ValidationError):
        validate_config(config)


def test_heads_stay_and_workers_are_spot(cloud):
    types = cloud["available_node_types"]
    assert set(types) == {"head", "spot_gpu"}
    head, worker = types[cloud["head_node_type"]], types["spot_gpu"]
    assert head["resources"] == {"CPU": 0}
    assert any("--num-cpus=0" in command for command in cloud["head_start_ray_commands"])
    assert worker["resources"]["GPU"] == 1
    assert cloud["max_workers"] == worker["max_workers"]
    if cloud["provider"]["type"] == "aws":
        assert "InstanceMarketOptions" not in head["node_config"]
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    else:
        assert "scheduling" not in head["node_config"]
        assert worker["node_config"]["scheduling"]["provisioningModel"] == "SPOT"


def test_aws_takes_what_its_instances_are_made_with():
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, node in read("aws.yaml")["available_node_types"].items():
        wanted = {**node["node_config"], "MinCount": 1, "MaxCount": 1}
        problems = ParamValidator().validate(wanted, shape)
        assert not problems.has_errors(), f"{name}: {problems.generate_report()}"
        typo = ParamValidator().validate({**wanted, "InstanceTypes": "m5.large"}, shape)
        assert typo.has_errors(), "the check finds nothing"


def test_nodes_speak_with_a_token(cloud):
    assert "-e RAY_AUTH_MODE=token" in cloud["docker"]["run_options"]
    assert cloud["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert "--dashboard-host=127.0.0.1" in " ".join(cloud["head_start_ray_commands"])


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "kuberay.yaml"])
def test_the_commands_in_them_are_commands_of_this_project(name):
    """Every launch script is there, and takes the arguments it is given."""
    found = 0
    for text in commands(read(name)):
        for script, rest in re.findall(rf"{IMAGE_ROOT}/launch/(\w+)\.py((?: [^|&;<>]+)?)", text):
            found += 1
            parser = _parser(script)
            args = parser.parse_args([part.replace("$", "") for part in shlex.split(rest)])
            if script == "tune":
                assert (ROOT / Path(args.search).relative_to(IMAGE_ROOT)).is_file()
    if name == "kuberay.yaml":
        assert found == 2
        (group,) = read(name)["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        (container,) = group["template"]["spec"]["containers"]
        python, script, *arguments = container["lifecycle"]["preStop"]["exec"]["command"]
        assert python == "python"
        args = _parser(Path(script).stem).parse_args(arguments)
        assert 0 < args.now < group["template"]["spec"]["terminationGracePeriodSeconds"]
    else:
        assert found == 1


def _parser(script):
    return runpy.run_path(str(ROOT / "launch" / f"{script}.py"))["build_parser"]()


def test_versions_agree():
    (required,) = re.findall(r'"(ray\[.*?\][^"]*)"', PYPROJECT)
    dockerfile = (FOLDER / "Dockerfile").read_text()
    (base,) = re.findall(r"^FROM rayproject/ray:([\d.]+)-py(\d)(\d+)-gpu$", dockerfile, re.MULTILINE)
    assert Requirement(required).specifier.contains(base[0])
    assert base[0] == ray.__version__ == read("kuberay.yaml")["spec"]["rayClusterSpec"]["rayVersion"]
    (python,) = re.findall('requires-python = "(.*)"', PYPROJECT)
    assert Requirement(f"python{python}").specifier.contains(f"{base[1]}.{base[2]}")
    for content in ((FOLDER / name).read_text() for name in ("aws.yaml", "gcp.yaml", "kuberay.yaml", "Dockerfile")):
        assert set(re.findall(r"ray-advpose:([\d.]+)", content)) == {_version()}


def _version():
    return re.search('^version = "(.*)"', PYPROJECT, re.MULTILINE)[1]


def test_the_image_has_all_that_is_installed_and_run():
    copied = re.findall(r"^COPY --chown=ray:users (.*) \S+$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert all((ROOT / source).exists() for source in sources)
    wanted = {"pyproject.toml", "constraints.txt", "launch", "search_spaces", Path(ray_advpose.__file__).parent.name}
    assert wanted <= sources
    for name in re.findall(r'readme = "(.*?)"|license-files = \["(.*?)"\]', PYPROJECT):
        assert set(filter(None, name)) <= sources, "the build needs it"


@pytest.fixture(scope="module")
def rayjob_schema():
    data = os.environ.get("ADVPOSE_DATA")
    path = Path(data) / "kuberay" / "ray.io_rayjobs.yaml" if data else None
    if path is None or not path.is_file():
        pytest.skip("KubeRay's custom resource definition is not in $ADVPOSE_DATA/kuberay")
    definition = yaml.safe_load(path.read_text())
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema):
    """Refuse what Kubernetes would drop without a word: fields that the schema does not know."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("pattern", None)
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        strict["additionalProperties"] = False
    return strict


def test_kuberay_takes_its_file(rayjob_schema):
    jsonschema.validate(read("kuberay.yaml"), rayjob_schema)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda spec: spec.update(entryPoint="python"),
        lambda spec: spec["rayClusterSpec"]["authOptions"].update(mode="tokens"),
        lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0].update(maxReplicas="8"),
        lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"].update(toleration=[]),
    ],
)
def test_kuberays_schema_would_notice(rayjob_schema, mistake):
    job = json.loads(json.dumps(read("kuberay.yaml")))
    mistake(job["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, rayjob_schema)


def test_kuberays_job_is_tried_again_and_ends():
    job = read("kuberay.yaml")["spec"]
    assert job["backoffLimit"] > 0
    assert job["shutdownAfterJobFinishes"]
    cluster = job["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    for group in (head, worker):
        (container,) = group["template"]["spec"]["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
