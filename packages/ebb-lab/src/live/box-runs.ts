/** The live page of `ebb box`: its servers, stacked. */
import type { BoxRecording, BoxRun } from '../record/box/recording.js'
import { relayoutBoxes } from '../report/box/charts.js'
import { boxPage, boxPicture } from '../report/box/html.js'
import type { JudgedBox } from '../report/box/judged-box.js'
import { judgeBoxes } from '../report/box/report.js'
import { type BoxVerdict, judgeBox } from '../report/box/verdict.js'
import { day, machine } from '../report/page/page.js'
import { duration, integer, megabytes } from '../units/format.js'
import { clean } from '../units/text.js'
import { boxLabels, finishedView } from './finished.js'
import { GrowingBoxRun } from './growing-box-run.js'
import { liveBody, type Tile } from './texts.js'
import type { LiveView } from './view.js'

const TILES: readonly Tile[] = [
  { id: 'now-time', term: 'time' },
  { id: 'now-servers', term: 'servers' },
  { id: 'now-anonymous', term: 'anonymous' },
  { id: 'now-peak', term: 'peak of sums' }
]

/** Shows the recording of a box while it grows. */
export class BoxRuns {
  #box: BoxRecording | undefined
  #duration = 0
  readonly #growing = new Map<BoxRun, GrowingBoxRun>()
  /** Verdicts on runs that have ended. */
  readonly #verdicts = new Map<BoxRun, BoxVerdict>()
  #finished: LiveView | undefined

  /**
   * Takes the recording, which grows while the box runs.
   *
   * @param length length of the run that begins, ms
   */
  begin(box: BoxRecording, length: number): void {
    this.#box = box
    this.#duration = length
  }

  /** Shows the report on the runs that have ended from now on, as `ebb report` does. */
  async finish(hasFailed: boolean): Promise<void> {
    const box = this.#box
    if (box === undefined) return
    const ended = hasFailed ? box.runs.slice(0, -1) : box.runs
    const { judged, headers, notes } = await judgeBoxes([
      { ...box, runs: ended.map((run) => ({ ...run, complete: true })) }
    ])
    this.#finished = finishedView(boxPage(judged, headers[0], notes), 'The run has ended', boxLabels(judged))
  }

  /** Returns what the page shows now. */
  view(): LiveView {
    if (this.#finished !== undefined) return this.#finished
    const box = this.#box
    const judged = box === undefined ? [] : this.#judged(box)
    const charts = judged.length === 0 ? [] : [boxPicture(judged)]
    const name = box?.header.name ?? 'box'
    return {
      names: judged.length === 0 ? [name] : judged.map(({ verdict }) => verdict.name),
      heading: name === 'box' ? 'The box' : `The box: ${name}`,
      lead:
        box === undefined
          ? ''
          : `Since ${day(box.header.startedAt)}. ${box.header.kernel}, ${machine(box.header.machine)}.`,
      body: liveBody(TILES, charts),
      layouts: [relayoutBoxes(judged, 1), relayoutBoxes(judged, 2)],
      charts,
      state: 'running',
      status: this.#status(box),
      texts: this.#texts(box, judged),
      labels: boxLabels(judged)
    }
  }

  /** Returns the main runs, and the control run while it lasts. */
  #judged(box: BoxRecording): JudgedBox[] {
    const last = box.runs.at(-1)
    return box.runs.flatMap((run, i) => {
      const isRunning = run === last && !box.complete
      if (run.role === 'control' && !isRunning) return []
      const growing = this.#growing.get(run) ?? new GrowingBoxRun(run)
      this.#growing.set(run, growing)
      growing.update()
      const shown = growing.run
      const verdict = isRunning ? verdictOn(box, [shown]) : this.#verdictOn(box, i)
      return verdict === undefined ? [] : [{ run: shown, verdict }]
    })
  }

  #verdictOn(box: BoxRecording, index: number): BoxVerdict | undefined {
    const run = box.runs[index] as BoxRun
    const known = this.#verdicts.get(run)
    if (known !== undefined) return known
    const verdict = verdictOn(box, box.runs.slice(0, index + 1))
    if (verdict !== undefined) this.#verdicts.set(run, verdict)
    return verdict
  }

  #status(box: BoxRecording | undefined): string {
    const run = box?.runs.at(-1)
    if (run === undefined) return 'Starting'
    return `Running ${clean(run.variant)}${run.role === 'control' ? ' (control)' : ''}`
  }

  #texts(box: BoxRecording | undefined, judged: readonly JudgedBox[]): Record<string, string> {
    const run = box?.runs.at(-1)
    const shown = run === undefined ? undefined : this.#growing.get(run)
    if (run === undefined || shown === undefined) return { phase: '' }
    const { last, sum } = shown
    return {
      phase: `${duration(last)} of about ${duration(this.#duration)}`,
      'now-time': duration(last),
      'now-servers': integer(run.servers.filter(({ recording }) => recording !== null && !recording.complete).length),
      'now-anonymous': megabytes(sum),
      'now-peak': megabytes(judged.at(-1)?.verdict.peakOfSums ?? null)
    }
  }
}

/** Returns the verdict on the last of some runs, whatever its role is. */
function verdictOn(box: BoxRecording, runs: readonly BoxRun[]): BoxVerdict | undefined {
  const last = runs.at(-1)
  if (last === undefined) return undefined
  const asMain: BoxRun = last.role === 'main' ? last : { ...last, role: 'main', variant: `${last.variant} (control)` }
  return judgeBox({ ...box, runs: [...runs.slice(0, -1), asMain] }).at(-1)
}
