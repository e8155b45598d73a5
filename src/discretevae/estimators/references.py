"""Where each estimator comes from: short references and BibTeX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A paper.

    Args:
        key: of the BibTeX entry.
        authors: as BibTeX wants them.
        title: of the paper.
        venue: where it appeared.
        year: when.
    """

    key: str
    authors: str
    title: str
    venue: str
    year: int

    def __str__(self) -> str:
        """``Bartler et al. 2019``."""
        names = [author.partition(",")[0] for author in self.authors.split(" and ")]
        who = names[0] if len(names) == 1 else f"{names[0]} et al."
        return f"{' & '.join(names) if len(names) == 2 else who} {self.year}"

    def bibtex(self) -> str:
        """The BibTeX entry.

        Example:
            >>> print(REFERENCES["vimco"].bibtex())
            @inproceedings{mnih2016variational,
              author = {Mnih, Andriy and Rezende, Danilo},
              title = {Variational Inference for Monte Carlo Objectives},
              booktitle = {ICML},
              year = {2016},
            }
        """
        lines = {
            "author": self.authors,
            "title": self.title,
            "booktitle": self.venue,
            "year": str(self.year),
        }
        fields = "".join(f"  {name} = {{{value}}},\n" for name, value in lines.items())
        return f"@inproceedings{{{self.key},\n{fields}}}"


_BARTLER = Reference(
    "bartler2019training",
    "Bartler, Alexander and Wiewel, Felix and Mauch, Lukas and Yang, Bin",
    "Training Variational Autoencoders with Discrete Latent Variables Using Importance Sampling",
    "EUSIPCO",
    2019,
)
_KINGMA = Reference(
    "kingma2014auto",
    "Kingma, Diederik P. and Welling, Max",
    "Auto-Encoding Variational Bayes",
    "ICLR",
    2014,
)
_KINGMA_M2 = Reference(
    "kingma2014semi",
    "Kingma, Diederik P. and Mohamed, Shakir and Rezende, Danilo J. and Welling, Max",
    "Semi-Supervised Learning with Deep Generative Models",
    "NeurIPS",
    2014,
)
_TITSIAS_LOCAL = Reference(
    "titsias2015local",
    "Titsias, Michalis K. and Lázaro-Gredilla, Miguel",
    "Local Expectation Gradients for Black Box Variational Inference",
    "NeurIPS",
    2015,
)
_NVIL = Reference(
    "mnih2014neural",
    "Mnih, Andriy and Gregor, Karol",
    "Neural Variational Inference and Learning in Belief Networks",
    "ICML",
    2014,
)
_WILLIAMS = Reference(
    "williams1992simple",
    "Williams, Ronald J.",
    "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
    "Machine Learning 8",
    1992,
)
_KOOL_RLOO = Reference(
    "kool2019buy",
    "Kool, Wouter and van Hoof, Herke and Welling, Max",
    "Buy 4 REINFORCE Samples, Get a Baseline for Free!",
    "ICLR Workshop on Deep Reinforcement Learning Meets Structured Prediction",
    2019,
)
_ARM = Reference(
    "yin2019arm",
    "Yin, Mingzhang and Zhou, Mingyuan",
    "ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks",
    "ICLR",
    2019,
)
_DISARM = Reference(
    "dong2020disarm",
    "Dong, Zhe and Mnih, Andriy and Tucker, George",
    "DisARM: An Antithetic Gradient Estimator for Binary Latent Variables",
    "NeurIPS",
    2020,
)
_ARMS = Reference(
    "dimitriev2021arms",
    "Dimitriev, Aleksandar and Zhou, Mingyuan",
    "ARMS: Antithetic-REINFORCE-Multi-Sample Gradient for Binary Variables",
    "ICML",
    2021,
)
_ARSM = Reference(
    "yin2019arsm",
    "Yin, Mingzhang and Yue, Yuguang and Zhou, Mingyuan",
    "ARSM: Augment-REINFORCE-Swap-Merge Estimator for Gradient Backpropagation Through "
    "Categorical Variables",
    "ICML",
    2019,
)
_CARMS = Reference(
    "dimitriev2021carms",
    "Dimitriev, Aleksandar and Zhou, Mingyuan",
    "CARMS: Categorical-Antithetic-REINFORCE Multi-Sample Gradient Estimator",
    "NeurIPS",
    2021,
)
_COUPLED = Reference(
    "dong2021coupled",
    "Dong, Zhe and Mnih, Andriy and Tucker, George",
    "Coupled Gradient Estimators for Discrete Latent Variables",
    "NeurIPS",
    2021,
)
_UNORDERED = Reference(
    "kool2020estimating",
    "Kool, Wouter and van Hoof, Herke and Welling, Max",
    "Estimating Gradients for Discrete Random Variables by Sampling without Replacement",
    "ICLR",
    2020,
)
_MUPROP = Reference(
    "gu2016muprop",
    "Gu, Shixiang and Levine, Sergey and Sutskever, Ilya and Mnih, Andriy",
    "MuProp: Unbiased Backpropagation for Stochastic Neural Networks",
    "ICLR",
    2016,
)
_REBAR = Reference(
    "tucker2017rebar",
    "Tucker, George and Mnih, Andriy and Maddison, Chris J. and Lawson, Dieterich and "
    "Sohl-Dickstein, Jascha",
    "REBAR: Low-Variance, Unbiased Gradient Estimates for Discrete Latent Variable Models",
    "NeurIPS",
    2017,
)
_RELAX = Reference(
    "grathwohl2018backpropagation",
    "Grathwohl, Will and Choi, Dami and Wu, Yuhuai and Roeder, Geoffrey and Duvenaud, David",
    "Backpropagation through the Void: Optimizing Control Variates for Black-Box Gradient "
    "Estimation",
    "ICLR",
    2018,
)
_DOUBLE_CV = Reference(
    "titsias2022double",
    "Titsias, Michalis K. and Shi, Jiaxin",
    "Double Control Variates for Gradient Estimation in Discrete Latent Variable Models",
    "AISTATS",
    2022,
)
_RODEO = Reference(
    "shi2022gradient",
    "Shi, Jiaxin and Zhou, Yuhao and Hwang, Jessica and Titsias, Michalis K. and Mackey, Lester",
    "Gradient Estimation with Discrete Stein Operators",
    "NeurIPS",
    2022,
)
_VIMCO = Reference(
    "mnih2016variational",
    "Mnih, Andriy and Rezende, Danilo",
    "Variational Inference for Monte Carlo Objectives",
    "ICML",
    2016,
)
_BENGIO = Reference(
    "bengio2013estimating",
    "Bengio, Yoshua and Léonard, Nicholas and Courville, Aaron",
    "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation",
    "arXiv 1308.3432",
    2013,
)
_JANG = Reference(
    "jang2017categorical",
    "Jang, Eric and Gu, Shixiang and Poole, Ben",
    "Categorical Reparameterization with Gumbel-Softmax",
    "ICLR",
    2017,
)
_PAULUS = Reference(
    "paulus2021rao",
    "Paulus, Max B. and Maddison, Chris J. and Krause, Andreas",
    "Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient Estimator",
    "ICLR",
    2021,
)
_FAN = Reference(
    "fan2022training",
    "Fan, Ting-Han and Chi, Ta-Chung and Rudnicky, Alexander I. and Ramadge, Peter J.",
    "Training Discrete Deep Generative Models via Gapped Straight-Through Estimator",
    "ICML",
    2022,
)
_REINMAX = Reference(
    "liu2023bridging",
    "Liu, Liyuan and Dong, Chengyu and Liu, Xiaodong and Yu, Bin and Gao, Jianfeng",
    "Bridging Discrete and Backpropagation: Straight-Through and Beyond",
    "NeurIPS",
    2023,
)
_VQ = Reference(
    "vandenoord2017neural",
    "van den Oord, Aäron and Vinyals, Oriol and Kavukcuoglu, Koray",
    "Neural Discrete Representation Learning",
    "NeurIPS",
    2017,
)

REFERENCES: Mapping[str, Reference] = {
    "importance": _BARTLER,
    "reparametrized": _KINGMA,
    "exact": _KINGMA_M2,
    "local-expectation": _TITSIAS_LOCAL,
    "ema": _WILLIAMS,
    "nvil": _NVIL,
    "rloo": _KOOL_RLOO,
    "arm": _ARM,
    "disarm": _DISARM,
    "arms": _ARMS,
    "arsm": _ARSM,
    "carms": _CARMS,
    "disarm-sb": _COUPLED,
    "disarm-iw": _COUPLED,
    "unordered-set": _UNORDERED,
    "muprop": _MUPROP,
    "rebar": _REBAR,
    "relax": _RELAX,
    "double-cv": _DOUBLE_CV,
    "rodeo": _RODEO,
    "vimco": _VIMCO,
    "straight-through": _BENGIO,
    "gumbel-softmax": _JANG,
    "st-gumbel": _JANG,
    "gumbel-rao": _PAULUS,
    "gapped-st": _FAN,
    "reinmax": _REINMAX,
    "vq": _VQ,
}
"""The paper to cite for each member, by its name."""

__all__ = ["REFERENCES", "Reference"]
