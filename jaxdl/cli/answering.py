"""The commands of an answer: judging the claims, writing the report, and recording the result."""

from pathlib import Path

from jaxdl.blame import blaming_own
from jaxdl.cli.options import Option
from jaxdl.cli.words import parse_words, positional, run_folder, say, show

RECORD_OPTIONS = [
    Option(
        'remark', str | None, None, 'what readers of a recorded result must know; records no run'
    ),
    Option('anyway', bool, False, 'record what is not the study as it stands; the table says so'),
]


@blaming_own()
def report(words: list[str]) -> None:
    """Judge the claims of a run and write its report again."""
    word, rest = positional('report', words, [], 'digits')
    parse_words('report', [], rest)

    from jaxdl.cli.library import load
    from jaxdl.cli.plan import write_answer
    from jaxdl.cli.standing import arms_in, check_arms
    from jaxdl.report.result import verdict_lines
    from jaxdl.run.config import read_config, read_starts

    folder, experiment = run_folder(word)
    arm = folder / arms_in(folder)[0]
    _, study = load(experiment)
    check_arms(study, folder, experiment, say=say)
    command = read_starts(arm)[-1]['command']
    result = write_answer(study, read_config(arm).study, folder, command=command)
    show(verdict_lines(result, folder))


@blaming_own()
def record(words: list[str]) -> None:
    """Copy a finished run's result to experiments/results and rewrite the table."""
    word, rest = positional('record', words, RECORD_OPTIONS, 'digits')
    values = parse_words('record', RECORD_OPTIONS, rest).values

    from jaxdl.cli.grid import grid_of, tuning_seeds
    from jaxdl.cli.library import load, own_parameters
    from jaxdl.report.recorded import (
        Own,
        check_readme,
        make_readme,
        record_run,
        remark,
        write_table,
    )
    from jaxdl.run.config import as_json
    from jaxdl.run.machine import RESULTS, RESULTS_TABLE

    if values['remark'] is None:
        folder, experiment = run_folder(word)
        _, study = load(experiment)
        arms = [*study.arms, *study.baselines]
        own = Own(
            {arm: as_json(own_parameters(study, arm)) for arm in arms},
            study.seeds,
            {arm: as_json(grid_of(study, arm, {})) for arm in arms},
            {'by': study.tuned_by, 'seeds': tuning_seeds(study)},
        )
        check_readme(RESULTS_TABLE)
        path = record_run(folder, RESULTS, own=own, anyway=values['anyway'])
        make_readme(RESULTS_TABLE)
    else:
        path = remark(RESULTS, word, values['remark'])
    write_table(RESULTS, RESULTS_TABLE)
    print(f'wrote {path} and the table in {RESULTS_TABLE}')


@blaming_own()
def judge(words: list[str]) -> None:
    """Judge a recorded result by the claims that its study has now."""
    word, rest = positional('judge', words, [], 'digits')
    parse_words('judge', [], rest)

    from jaxdl.cli.library import load
    from jaxdl.cli.stale import changes_since
    from jaxdl.report.recorded import read_recorded, write_recorded, write_table
    from jaxdl.report.rejudged import changed_verdicts, rejudged
    from jaxdl.report.result import verdict_lines
    from jaxdl.run.machine import RESULTS, RESULTS_TABLE

    before = read_recorded(RESULTS, Path(word).stem)
    name, study = load(word)
    after = rejudged(before, study.claims) | {'stale': changes_since(study, before)}
    write_recorded(RESULTS, name, after)
    write_table(RESULTS, RESULTS_TABLE)
    show(verdict_lines(after))
    for line in changed_verdicts(before, after):
        print(line)
    for line in after['stale']:
        print(f'stale: {line}')
