"""What pyproject.toml cannot say: stored measurements travel with the package.

Chapters read them with ``bedkd.report.stored``, in Colab too, where there is no repository.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["bedkd*"]), "bedkd.results"],
    package_dir={"bedkd.results": "results"},
    package_data={"bedkd": ["templates/*"], "bedkd.results": ["**/*.json"]},
)
