"""What a stored scikit-learn estimator may be made of, beyond the estimators that skops trusts by itself.

Classes hold numbers, and compute when they are called. The few functions are pure computations on arrays, which
estimators keep as scores, distances or kernels; all are named one by one, since other functions of scikit-learn start
processes or read files. A test fits every estimator of `all_estimators` and loads it with these names.
"""

from __future__ import annotations

__all__ = ["CLASSES", "FUNCTIONS"]

_CLASSES = {
    "numpy": "dtype",
    "scipy.interpolate._bsplines": "BSpline",
    "scipy.sparse._csr": "csr_array csr_matrix",
    "scipy.sparse._csc": "csc_array csc_matrix",
    "scipy.sparse._coo": "coo_array coo_matrix",
    "sklearn._loss.loss": "AbsoluteError ExponentialLoss HalfBinomialLoss HalfGammaLoss HalfMultinomialLoss "
    "HalfPoissonLoss HalfSquaredError HalfTweedieLoss HalfTweedieLossIdentity HuberLoss PinballLoss",
    "sklearn._loss.link": "HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit",
    "sklearn.calibration": "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling",
    "sklearn.cluster._bisect_k_means": "_BisectingTree",
    "sklearn.compose._column_transformer": "make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.binning": "_BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor": "TreePredictor",
    "sklearn.gaussian_process._gpc": "_BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels": "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation "
    "Hyperparameter Matern PairwiseKernel Product RBF RationalQuadratic Sum WhiteKernel",
    "sklearn.metrics._dist_metrics": " ".join(
        f"{name}Distance{bits}"
        for name in (
            *("BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Haversine", "Jaccard"),
            "Kulsinski",
            *("Mahalanobis", "Manhattan", "Matching", "Minkowski", "RogersTanimoto", "RussellRao", "SEuclidean"),
            *("SokalMichener", "SokalSneath", "WMinkowski"),
        )
        for bits in ("", "32", "64")
    ),
    "sklearn.metrics._scorer": "_CurveScorer _MultimetricScorer _PassthroughScorer _Scorer",
    "sklearn.model_selection._search_successive_halving": "HalvingGridSearchCV HalvingRandomSearchCV",
    "sklearn.model_selection._split": "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut "
    "LeavePOut PredefinedSplit RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold "
    "StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit _CVIterableWrapper",
    "sklearn.multiclass": "_ConstantPredictor",
    "sklearn.neighbors._ball_tree": "BallTree BallTree32 BallTree64",
    "sklearn.neighbors._kd_tree": "KDTree KDTree32 KDTree64",
    "sklearn.neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
    "sklearn.tree._tree": "Tree",
    "sklearn.utils._bunch": "Bunch",
    "sklearn.utils._metadata_requests": "MetadataRequest MethodMetadataRequest MetadataRouter MethodMapping",
}  # fmt: skip
_FUNCTIONS = {
    "numpy": "max mean median min sum",
    "scipy._external.array_api_compat.numpy._aliases": "asarray",
    "scipy._lib.array_api_compat.numpy._aliases": "asarray",
    "sklearn.cluster._kmeans": "_kmeans_single_elkan _kmeans_single_lloyd",
    "sklearn.feature_selection._mutual_info": "mutual_info_classif mutual_info_regression",
    "sklearn.feature_selection._univariate_selection": "chi2 f_classif f_oneway f_regression r_regression",
    "sklearn.metrics._classification": "accuracy_score balanced_accuracy_score brier_score_loss cohen_kappa_score "
    "d2_brier_score d2_log_loss_score f1_score fbeta_score hamming_loss hinge_loss jaccard_score log_loss "
    "matthews_corrcoef precision_score recall_score zero_one_loss",
    "sklearn.metrics._ranking": "average_precision_score coverage_error dcg_score "
    "label_ranking_average_precision_score label_ranking_loss ndcg_score roc_auc_score top_k_accuracy_score",
    "sklearn.metrics._regression": "d2_absolute_error_score d2_pinball_score d2_tweedie_score "
    "explained_variance_score max_error mean_absolute_error mean_absolute_percentage_error mean_gamma_deviance "
    "mean_pinball_loss mean_poisson_deviance mean_squared_error mean_squared_log_error mean_tweedie_deviance "
    "median_absolute_error r2_score root_mean_squared_error root_mean_squared_log_error",
    "sklearn.metrics._scorer": "negative_likelihood_ratio positive_likelihood_ratio",
    "sklearn.metrics.cluster._supervised": "adjusted_mutual_info_score adjusted_rand_score completeness_score "
    "fowlkes_mallows_score homogeneity_score mutual_info_score normalized_mutual_info_score rand_score v_measure_score",
    "sklearn.metrics.cluster._unsupervised": "calinski_harabasz_score davies_bouldin_score silhouette_score",
    "sklearn.metrics.pairwise": "additive_chi2_kernel chi2_kernel cosine_distances cosine_similarity "
    "euclidean_distances haversine_distances laplacian_kernel linear_kernel manhattan_distances "
    "nan_euclidean_distances polynomial_kernel rbf_kernel sigmoid_kernel",
}  # fmt: skip


def _full(names: dict[str, str]) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for module, listed in names.items() for name in listed.split())


CLASSES = _full(_CLASSES)
"""Full names of the classes."""
FUNCTIONS = _full(_FUNCTIONS)
"""Full names of the functions."""
