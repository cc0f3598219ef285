"""Packaging. Every value comes from settings.ini, so each fact is written once."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
notebooks, slurm, edge, archive, dev = (cfg[f"{name}_requirements"].split()
                                         for name in ("notebook", "slurm", "edge", "archive", "dev"))



class WithClaims(build_py):
    "The published numbers go with the package."
    def run(self):
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib) / cfg["lib_path"]
            self.copy_file(str(here / "data" / "claims.csv"), str(folder / "claims.csv"))


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    keywords=cfg["keywords"],
    classifiers=[
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
        "Operating System :: OS Independent",
        *(f"Programming Language :: Python :: {version}" for version in cfg["python_versions"].split()),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    license="Apache-2.0",
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[cfg["lib_path"] + "*"]),
    install_requires=cfg["requirements"].split(),
    extras_require={"notebooks": notebooks, "slurm": notebooks + slurm, "edge": edge, "archive": archive,
                    "dev": notebooks + slurm + edge + archive + dev},
    cmdclass={"build_py": WithClaims},
    entry_points={"console_scripts": cfg["console_scripts"].split(),
                  "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
)
