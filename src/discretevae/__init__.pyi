"""Every public name of the package, by the module that holds it; `__init__.py` reads this file."""

from .codes.cluster_scores import (
    ClusterScores as ClusterScores,
    match_clusters as match_clusters,
)
from .codes.clusters import (
    Clusters as Clusters,
    cluster_centers as cluster_centers,
    clusters as clusters,
)
from .codes.columns import write_parquet as write_parquet
from .codes.compression.files import (
    compress as compress,
    decompress as decompress,
)
from .codes.explaining import explain_outliers as explain_outliers
from .codes.fingerprints import fingerprint as fingerprint
from .codes.imputing import impute as impute
from .codes.outliers import (
    Outliers as Outliers,
    OutlierScores as OutlierScores,
    fit_outliers as fit_outliers,
    input_complexity as input_complexity,
)
from .codes.packing import (
    decode_codes as decode_codes,
    encode_rows as encode_rows,
    pack_codes as pack_codes,
    unpack_codes as unpack_codes,
)
from .codes.pooling import (
    pooled_clusters as pooled_clusters,
    pooled_codes as pooled_codes,
)
from .codes.refining import refine_codes as refine_codes
from .codes.search.average_precision import (
    RetrievalScores as RetrievalScores,
    mean_average_precision as mean_average_precision,
)
from .codes.search.index import CodeIndex as CodeIndex
from .codes.search.neighbors import Neighbors as Neighbors
from .codes.search.retrieval import (
    RetrievalEntry as RetrievalEntry,
    RetrievalReport as RetrievalReport,
    measure_retrieval as measure_retrieval,
)
from .config import (
    Activation as Activation,
    Augment as Augment,
    ColumnSpec as ColumnSpec,
    DataConfig as DataConfig,
    LatentSpec as LatentSpec,
    LikelihoodSpec as LikelihoodSpec,
    ModelConfig as ModelConfig,
    NeighborTarget as NeighborTarget,
    PriorSpec as PriorSpec,
    QuantizerSpec as QuantizerSpec,
    RowTarget as RowTarget,
    RunConfig as RunConfig,
    SaveEvery as SaveEvery,
    Schedule as Schedule,
    Supervision as Supervision,
    Target as Target,
    TrainConfig as TrainConfig,
    VQTraining as VQTraining,
)
from .data import (
    Dataset as Dataset,
    Rows as Rows,
    Schema as Schema,
    binarize as binarize,
    load_data as load_data,
    load_rows as load_rows,
    load_run_data as load_run_data,
    load_run_rows as load_run_rows,
)
from .data.augmentation import distort as distort
from .data.neighbors import (
    NeighborGraph as NeighborGraph,
    mutual_neighbors as mutual_neighbors,
)
from .errors import (
    CheckpointWarning as CheckpointWarning,
    CollapseWarning as CollapseWarning,
    ConfigError as ConfigError,
    DataError as DataError,
    DataWarning as DataWarning,
    DiscreteVAEError as DiscreteVAEError,
    DiscreteVAEWarning as DiscreteVAEWarning,
    DownloadError as DownloadError,
    MissingExtraError as MissingExtraError,
    ObjectiveWarning as ObjectiveWarning,
    RunError as RunError,
    TrainingError as TrainingError,
    TrainingInterrupted as TrainingInterrupted,
)
from .estimators import (
    ARM as ARM,
    ARMS as ARMS,
    ARSM as ARSM,
    CARMS as CARMS,
    EMA as EMA,
    ESTIMATORS as ESTIMATORS,
    NVIL as NVIL,
    REBAR as REBAR,
    RELAX as RELAX,
    RLOO as RLOO,
    RODEO as RODEO,
    VIMCO as VIMCO,
    BitFlip as BitFlip,
    DisARM as DisARM,
    DisARMSB as DisARMSB,
    DoubleCV as DoubleCV,
    Estimate as Estimate,
    Estimator as Estimator,
    Exact as Exact,
    GappedST as GappedST,
    GumbelRao as GumbelRao,
    GumbelSoftmax as GumbelSoftmax,
    Importance as Importance,
    Integrand as Integrand,
    LocalExpectation as LocalExpectation,
    MuProp as MuProp,
    PartWise as PartWise,
    ReinMax as ReinMax,
    ReinMaxCV as ReinMaxCV,
    ReinMaxRao as ReinMaxRao,
    Reparametrized as Reparametrized,
    STGumbel as STGumbel,
    StraightThrough as StraightThrough,
    estimator_for as estimator_for,
    make_estimator as make_estimator,
    with_gradient_of as with_gradient_of,
)
from .estimators.contract import check_estimator_contract as check_estimator_contract
from .evaluation.bounds import (
    Evaluation as Evaluation,
    RowScores as RowScores,
    evaluate as evaluate,
    row_scores as row_scores,
    score_samples as score_samples,
)
from .evaluation.labels import (
    accuracy as accuracy,
    label_probabilities as label_probabilities,
)
from .evaluation.measured import Measured as Measured
from .evaluation.usage import CodeUsage as CodeUsage
from .experiments.comparison import compare as compare
from .experiments.comparison_result import Comparison as Comparison
from .experiments.refit import (
    Refitted as Refitted,
    refit_prior as refit_prior,
)
from .experiments.run import (
    RunResult as RunResult,
    run as run,
)
from .families import (
    Bernoulli as Bernoulli,
    Categorical as Categorical,
    Family as Family,
    Gaussian as Gaussian,
    Product as Product,
    family_of as family_of,
    parts_of as parts_of,
)
from .likelihoods import (
    BernoulliLikelihood as BernoulliLikelihood,
    BetaBinomialLikelihood as BetaBinomialLikelihood,
    ColorLogisticLikelihood as ColorLogisticLikelihood,
    ContinuousBernoulliLikelihood as ContinuousBernoulliLikelihood,
    GaussianLikelihood as GaussianLikelihood,
    LearnedGaussianLikelihood as LearnedGaussianLikelihood,
    Likelihood as Likelihood,
    LogisticLikelihood as LogisticLikelihood,
    MixedLikelihood as MixedLikelihood,
    MultinomialLikelihood as MultinomialLikelihood,
    NegativeBinomialLikelihood as NegativeBinomialLikelihood,
    PoissonLikelihood as PoissonLikelihood,
    StudentLikelihood as StudentLikelihood,
    bits_per_dimension as bits_per_dimension,
)
from .model.integrands import (
    LogJoint as LogJoint,
    LogLikelihood as LogLikelihood,
)
from .model.vae import DiscreteVAE as DiscreteVAE
from .networks.convolutional import (
    ConvDecoder as ConvDecoder,
    ConvEncoder as ConvEncoder,
)
from .networks.mlp import MLP as MLP
from .networks.resnet import (
    ResNetDecoder as ResNetDecoder,
    ResNetEncoder as ResNetEncoder,
)
from .objectives import (
    Chains as Chains,
    Terms as Terms,
    elbo as elbo,
    jsa as jsa,
    marginal as marginal,
    multi_sample as multi_sample,
    pretraining as pretraining,
    semi_supervised as semi_supervised,
    vector_quantized as vector_quantized,
    wake_sleep as wake_sleep,
)
from .objectives.gradient_noise import (
    GradientNoise as GradientNoise,
    encoder_gradient_noise as encoder_gradient_noise,
)
from .objectives.gradient_reports import (
    GradientReport as GradientReport,
    measure_gradients as measure_gradients,
)
from .priors import (
    AutoregressivePrior as AutoregressivePrior,
    FactorizedPrior as FactorizedPrior,
    MixturePrior as MixturePrior,
    PlacePrior as PlacePrior,
    Prior as Prior,
    make_prior as make_prior,
)
from .run_folder.history import (
    EpochMetrics as EpochMetrics,
    read_metrics as read_metrics,
)
from .run_folder.saved_run import (
    Run as Run,
    load_run as load_run,
)
from .scikit_learn import (
    BaseVAE as BaseVAE,
    BernoulliVAE as BernoulliVAE,
    CategoricalVAE as CategoricalVAE,
    ClusterVAE as ClusterVAE,
)
from .sharing.hub import (
    from_pretrained as from_pretrained,
    push_to_hub as push_to_hub,
    save_pretrained as save_pretrained,
)
from .sharing.onnx import (
    OnnxExport as OnnxExport,
    export_onnx as export_onnx,
)
from .system.ranks import Ranks as Ranks
from .training import (
    Progress as Progress,
    train as train,
)
from .training.placement import place_mixture as place_mixture
from .training.prior_fitting import fit_prior as fit_prior
from .version import __version__ as __version__
