/** The live page of `ebb box`: its servers, stacked. */
import type { BoxRecording, BoxRun } from '../record/box/recording.js'
import { relayoutBoxes } from '../report/box/charts.js'
import { boxPage, boxPicture } from '../report/box/html.js'
import type { SummedBox } from '../report/box/judged-box.js'
import { judgeBoxes } from '../report/box/report.js'
import { type BoxSums, sumUp } from '../report/box/verdict.js'
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
  /** The recordings of all repeats that have begun. The last one grows. */
  readonly #boxes: BoxRecording[] = []
  #duration = 0
  readonly #growing = new Map<BoxRun, GrowingBoxRun>()
  /** Sums of runs that have ended. */
  readonly #sums = new Map<BoxRun, BoxSums>()
  #finished: LiveView | undefined

  /**
   * Takes the recording, which grows while the box runs.
   *
   * @param length length of the run that begins, ms
   */
  begin(box: BoxRecording, length: number): void {
    if (!this.#boxes.includes(box)) this.#boxes.push(box)
    this.#duration = length
  }

  /** From now on, shows the report on the runs that have ended, as `ebb report` does. */
  async finish(hasFailed: boolean): Promise<void> {
    const last = this.#boxes.at(-1)
    if (last === undefined) return
    const ended = this.#boxes.flatMap((box) => {
      const runs = hasFailed && box === last ? box.runs.slice(0, -1) : box.runs
      return runs.length === 0 ? [] : { ...box, runs: runs.map((run) => ({ ...run, complete: true })) }
    })
    if (ended.length === 0) return
    const { judged, headers, notes } = await judgeBoxes(ended)
    this.#finished = finishedView(boxPage(judged, headers[0], notes), 'The run has ended', boxLabels(judged))
  }

  /** Returns what the page shows now. */
  view(): LiveView {
    if (this.#finished !== undefined) return this.#finished
    const box = this.#boxes.at(-1)
    const shown = box === undefined ? [] : this.#shown(box)
    const charts = shown.length === 0 ? [] : [boxPicture(shown)]
    const name = box?.header.name ?? 'box'
    return {
      names: shown.length === 0 ? [name] : shown.map(({ verdict }) => verdict.name),
      heading: name === 'box' ? 'The box' : `The box: ${name}`,
      lead:
        box === undefined
          ? ''
          : `Since ${day(box.header.startedAt)}. ${box.header.kernel}, ${machine(box.header.machine)}.`,
      body: liveBody(TILES, charts),
      layouts: [relayoutBoxes(shown, 1), relayoutBoxes(shown, 2)],
      charts,
      state: 'running',
      status: this.#status(box),
      texts: this.#texts(box, shown),
      labels: boxLabels(shown)
    }
  }

  /** Returns the main runs, and the control run while it lasts. */
  #shown(box: BoxRecording): SummedBox[] {
    const last = box.runs.at(-1)
    return box.runs.flatMap((source) => {
      const isRunning = source === last && !box.complete
      if (source.role === 'control' && !isRunning) return []
      const growing = this.#growing.get(source) ?? new GrowingBoxRun(source)
      this.#growing.set(source, growing)
      growing.update()
      const { run } = growing
      const sums = isRunning ? sumUp(run) : this.#sumsOf(source)
      const name = source.role === 'control' ? `${sums.name} (control)` : sums.name
      return { run, verdict: { ...sums, name } }
    })
  }

  #sumsOf(run: BoxRun): BoxSums {
    const known = this.#sums.get(run) ?? sumUp(run)
    this.#sums.set(run, known)
    return known
  }

  #status(box: BoxRecording | undefined): string {
    const run = box?.runs.at(-1)
    if (run === undefined) return 'Starting'
    const repeat = box?.header.run
    const which = repeat === undefined ? '' : `, run ${repeat.index} of ${repeat.of}`
    return `Running ${clean(run.variant)}${run.role === 'control' ? ' (control)' : ''}${which}`
  }

  #texts(box: BoxRecording | undefined, boxes: readonly SummedBox[]): Record<string, string> {
    const run = box?.runs.at(-1)
    const shown = run === undefined ? undefined : this.#growing.get(run)
    if (run === undefined || shown === undefined) return { phase: '' }
    const { last, sum } = shown
    return {
      phase: `${duration(last)} of about ${duration(this.#duration)}`,
      'now-time': duration(last),
      'now-servers': integer(run.servers.filter(({ recording }) => recording !== null && !recording.complete).length),
      'now-anonymous': megabytes(sum),
      'now-peak': megabytes(boxes.at(-1)?.verdict.peakOfSums ?? null)
    }
  }
}
