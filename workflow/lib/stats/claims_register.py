"""The register of claims, declared before anything is computed: what is said, by whom, which number decides, by which rule."""

from dataclasses import dataclass

from workflow.lib.stats.claims_rules import (
    Rule,
    fits_better,
    half_of_cells,
    non_inferiority,
    poor_guide,
    ranks,
    ranks_better,
    stable,
    superiority,
)

MARGIN, OTHER_MARGINS = 0.005, (0.0025, 0.01)  # D, in Dice
LENGTHS = (100, 150, 200, 250)  # of C11
NETWORKS = {"Swin": "swin", "ResNet50": "resnet50", "basic U-Net": "unet"}  # name in the claims: encoder
SHORT = {"C4R": "ResNet50", "C4S": "Swin", "C4b": "basic U-Net"}

HEAD = """Every claim of the register with its estimate, 95 % interval and verdict. Unit: Dice 0..1, or rank correlation.
HONESTY: the released data had been looked at when the margins (D = 0.005 Dice; Spearman 0.5) were fixed. They are not
pre-registered: every verdict is also shown at D = 0.0025 and 0.01. C9 is the primary claim; C3 was asked post hoc.
SCOPE of every interval: the released data hold 54 checkpoints from ONE pretraining run per encoder and scheme: six runs, and
the two schemes of an encoder are not independent (effective k between 3 and 6). The test sets are fixed and without values
per case: the sampling of patients is in no interval. The released Dice may be that of the best epoch on the test set.
Lengths below the last are un-annealed snapshots of one schedule: nothing here speaks of a completed shorter pretraining.
The last length is 300 epochs in the released data. A run's mean weighs its targets and freezings alike.
Interval over runs: t over one mean per pretraining run (k in the note). At six runs it covers 95 % if the runs are independent,
89 % if the two schemes of an encoder correlate by 0.5, 75 % if they are as one; the note adds the interval over encoders.
Interval "seeds only": other fine-tuning seeds of the same checkpoints, from the cells' pooled SD; other runs are not in it.
Spearman takes Dice as the mean over the seeds there are: their noise pulls it towards 0.
p_value: two-sided t test of the value that the rule looks at first: 0; 0.5 in C4; -0.005 in C10a and C11. C1: Holm p of the
cell that would make half. C5, C8: permutations of whole runs, one-sided. Not corrected for the number of claims.
Superiority: supported if low > 0 and estimate >= D; contradicted if high < D. "No more than D": supported if low > -D;
contradicted if high < -D. Poor guide: supported if high < 0.5; contradicted if low > 0.5. C6, C7: supported if low > 0;
contradicted: C6 if estimate <= 0 and high < 0.5, C7 if high < 0. C8: supported if p <= 0.05, never contradicted. C1: supported
if at least half of the cells are significant, contradicted if a gain of D is excluded in at least half. C13: all pairs > 0.5,
all pairs < 0.5. Else inconclusive. Fewer than three pretraining runs: no verdict, but for "seeds only"."""


@dataclass(frozen=True)
class Claim:
    """A row of the register that the released data can decide."""

    id: str
    source: str
    claim: str
    estimand: str
    scope: str
    rule: Rule


STUDY = "Hidy et al. 2024 (arXiv 2410.18677)"
REGISTER = "register (asked of the study's data)"
CCFV = "Yang et al. 2023 (CC-FV, MICCAI; arXiv 2307.11958)"
DIPPEL = "Dippel et al. 2022 (arXiv 2207.14508, preprint)"

RUNS = "mean over pretraining runs; these targets and test sets"
SEEDS = "seeds only: these checkpoints, targets and test sets"
HONEST = "mean Dice(best length chosen on the other seeds) - Dice(last), on the left-out seed"
ACCURACY = "mean within-run Spearman(ImageNet accuracy, Dice), lengths > 0"
STOPPED = "mean Dice(length of lowest score; ties averaged; setting chosen on the other data sets, within the encoder)"
MIXTURE = "Dice(mixture of the two neighbouring fixed lengths with the same mean epochs over all runs)"

CLAIMS = [
    Claim(
        "C1",
        STUDY,
        "Some shorter pretraining segments better than the full one.",
        "number of cells (data set x network x freezing x scheme) in which a shorter length has a higher mean Dice",
        f"{SEEDS}; cell by cell",
        half_of_cells,
    ),
    Claim("C2", STUDY, "The best length gains over the last.", HONEST, RUNS, superiority),
    Claim("C2f", REGISTER, "C2 with a frozen encoder.", f"{HONEST}; encoder frozen", RUNS, superiority),
    Claim("C2t", REGISTER, "C2 with a tuned encoder.", f"{HONEST}; encoder tuned", RUNS, superiority),
    Claim("C3", REGISTER, "That gain is larger with a frozen encoder.", "C2f - C2t, per run", RUNS, superiority),
    Claim("C4", STUDY, "ImageNet accuracy is a poor guide to the length within a run.", ACCURACY, RUNS, poor_guide),
    *(
        Claim(name, REGISTER, f"C4 for {network}.", f"{ACCURACY}; {network}", SEEDS, poor_guide)
        for name, network in SHORT.items()
    ),
    Claim(
        "C5",
        STUDY,
        "ImageNet accuracy is a poor guide to the encoder.",
        "mean over data set x freezing of Spearman(ImageNet accuracy, Dice) over the runs at their last length",
        f"interval: {SEEDS}; p: permutation of these runs",
        poor_guide,
    ),
    Claim(
        "C6",
        STUDY,
        "The robustness score ranks the lengths within a run.",
        "mean within-run Spearman(-score, Dice); setting of highest mean on the other data sets, within the encoder",
        RUNS,
        ranks,
    ),
    Claim(
        "C7",
        REGISTER,
        "The score ranks the lengths better than their number of epochs.",
        "C6 - mean within-run Spearman(epochs, Dice), paired",
        RUNS,
        ranks_better,
    ),
    Claim(
        "C8",
        REGISTER,
        "A run's own score curve fits its Dice better than another run's curve.",
        "C6 with own curves - mean C6 with every run given another run's curve, same data set, settings re-chosen",
        "permutation of these runs",
        fits_better,
    ),
    Claim(
        "C9", STUDY, "Stopping at the lowest score beats the last length.", f"{STOPPED} - Dice(last)", RUNS, superiority
    ),
    Claim(
        "C10a", STUDY, "Stopping by the score loses no more than D.", f"{STOPPED} - Dice(last)", RUNS, non_inferiority
    ),
    Claim(
        "C10b",
        REGISTER,
        "Stopping by the score beats a fixed length of equal mean epochs.",
        f"{STOPPED} - {MIXTURE}",
        RUNS,
        superiority,
    ),
    *(
        Claim(
            f"C11-{length}",
            REGISTER,
            f"Always stopping at {length} epochs loses no more than D.",
            f"mean Dice({length}) - Dice(last)",
            RUNS,
            non_inferiority,
        )
        for length in LENGTHS
    ),
    *(
        Claim(
            f"C12 tuned, {network}",
            REGISTER,
            f"Pretraining beats random initialisation: {network}, encoder tuned.",
            f"mean Dice(last) - Dice(random); {network}, encoder tuned",
            SEEDS,
            superiority,
        )
        for network in NETWORKS
    ),
    Claim(
        "C12 frozen, all",
        REGISTER,
        "Pretraining beats random initialisation where the encoder stays frozen.",
        "mean Dice(last) - Dice(random); encoder frozen",
        RUNS,
        superiority,
    ),
    Claim(
        "C13",
        REGISTER,
        "The same settings of the score are good on all data sets.",
        "Spearman of the settings' mean regret between two data sets, levels counted from the deepest; mean over the pairs",
        "these runs and data sets, each pair singly; no interval",
        stable,
    ),
]

# Claims that the released data can't decide: source, claim, what it would take.
UNTESTABLE = {
    "U1": (
        STUDY,
        "Other transferability scores do not apply from ImageNet classification to segmentation; this one does.",
        "the label-based scores computed at pixels of the encoders' feature maps, with how well each of them ranks",
    ),
    "U2": (
        REGISTER,
        "The robustness score ranks checkpoints better than other transferability scores.",
        "LogME, H-score, GBC, TransRate, kNN and a linear probe of the same checkpoints on the same targets",
    ),
    "U3": (
        STUDY,
        "Watching the score lowers the total cost of pretraining.",
        "measured hours of pretraining, of scoring every checkpoint, and of the fine-tunings that choose the setting",
    ),
    "U4": (
        REGISTER,
        "A completed shorter pretraining does as well as the full one.",
        "pretrainings whose schedule is annealed at the shorter length",
    ),
    "U5": (
        REGISTER,
        "The findings hold for another pretraining run of the same encoder and scheme.",
        "several pretraining seeds per encoder and scheme",
    ),
    "U6": (
        REGISTER,
        "The findings hold for other patients.",
        "Dice per case, or further test sets",
    ),
    "U7": (
        CCFV,
        "Class consistency with feature variety (CC-FV) ranks pretrained models better than LogME, GBC, TransRate and LEEP.",
        "models pretrained for segmentation, decoder included, on several targets; the score uses decoder features",
    ),
    "U8": (
        CCFV,
        "CC-FV picks a good checkpoint of an ImageNet encoder (an adaptation to encoder features; not their claim).",
        "CC-FV of the same checkpoints from encoder features, in both readings: as published and as coded",
    ),
    "U9": (
        DIPPEL,
        "Transferred decoder weights speed convergence but end no better than a random decoder.",
        "pretrained decoders, fine-tuned with and without their weights; those of the study start at random",
    ),
    "U10": (
        DIPPEL,
        "Transferring the encoder helps.",
        "pretraining on medical images; for ImageNet encoders see C12",
    ),
    "U11": (
        DIPPEL,
        "Encoders pretrained by segmentation or reconstruction beat those pretrained by classification.",
        "encoders of one architecture and data set, pretrained by each task; the study pretrains by classification only",
    ),
    "U12": (
        DIPPEL,
        "Contrastive learning with self-reconstruction is a better pretraining.",
        "encoders pretrained that way on the same images",
    ),
    "U13": (
        DIPPEL,
        "The gain from transfer is largest where labels are few (revised abstract).",
        "fine-tuning on growing parts of the training set; the study fixes its size",
    ),
}
