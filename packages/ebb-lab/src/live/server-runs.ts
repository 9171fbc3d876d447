/** The live page of `ebb bench` and `ebb record`: servers that are recorded one after the other. */
import type { Header, Recording, RecordingEvent, Sample } from '../record/recording.js'
import { relayout } from '../report/charts/picture.js'
import { pictures, reportPage } from '../report/page/html.js'
import { day, machine } from '../report/page/page.js'
import { judgeRecordings } from '../report/report.js'
import type { Run } from '../report/run.js'
import { judge, type Verdict } from '../report/verdict.js'
import { duration, integer, megabytes } from '../units/format.js'
import { clean } from '../units/text.js'
import { finishedView, serverLabels } from './finished.js'
import { GrowingRecording } from './growing-recording.js'
import { liveBody, phaseOf, type Tile } from './texts.js'
import type { LiveView } from './view.js'

/** A run on a server. */
interface LiveRun {
  growing: GrowingRecording
  /** Number of pulses that are planned; null without a plan. */
  pulses: number | null
  /** The whole recording, once the run has ended. */
  whole: Recording | null
}

/** A server on the page. */
interface LiveServer {
  main: LiveRun
  control: LiveRun | null
  /** The verdict, once the main run has ended, and the control run that it was made with. */
  verdict: { value: Verdict; control: Recording | null } | null
}

const TILES: readonly Tile[] = [
  { id: 'now-time', term: 'time' },
  { id: 'now-anonymous', term: 'anonymous' },
  { id: 'now-peak', term: 'peak' },
  { id: 'now-resident', term: 'resident' },
  { id: 'now-descriptors', term: 'descriptors' },
  { id: 'now-cpu', term: 'CPU' }
]

/** Collects what is recorded, and returns what the page shows. */
export class ServerRuns {
  readonly #servers = new Map<string, LiveServer>()
  #current: LiveRun | null = null
  #finished: LiveView | null = null

  /**
   * Begins a run. A main run takes the place of an earlier one on a server of the same name, a control run belongs to
   * it.
   *
   * @param pulses number of pulses that are planned; null without a plan
   */
  begin(header: Header, pulses: number | null): void {
    const run: LiveRun = { growing: new GrowingRecording(header), pulses, whole: null }
    this.#current = run
    const server = this.#servers.get(header.name)
    if (header.role === 'main') this.#servers.set(header.name, { main: run, control: null, verdict: null })
    else if (server !== undefined) server.control = run
  }

  addSample(sample: Sample): void {
    this.#current?.growing.addSample(sample)
  }

  addEvent(event: RecordingEvent): void {
    this.#current?.growing.addEvent(event)
  }

  /** Ends the run. */
  end(whole: Recording): void {
    if (this.#current !== null) this.#current.whole = whole
  }

  /**
   * Shows the report on recordings from now on, as `ebb report` does. Default: on what is shown, without the points
   * that were thinned out.
   */
  async finish(recordings: readonly Recording[] = this.#shown()): Promise<void> {
    if (recordings.length === 0) return
    const { runs, notes } = await judgeRecordings(recordings)
    this.#finished = finishedView(reportPage(runs, notes), 'The run has ended', serverLabels(runs))
  }

  /** Returns what the page shows now. */
  view(): LiveView {
    if (this.#finished !== null) return this.#finished
    const runs = [...this.#servers.values()].flatMap((server) => this.#runsOf(server))
    const charts = pictures(runs)
    return {
      names: runs.length === 0 ? ['ebb'] : runs.map(({ verdict }) => verdict.name),
      heading: 'What the server holds',
      lead: this.#lead(),
      body: liveBody(TILES, charts),
      layouts: [relayout(runs.length, 1), relayout(runs.length, 2)],
      charts,
      state: 'running',
      status: this.#status(),
      texts: this.#texts(),
      labels: serverLabels(runs)
    }
  }

  /** Returns the panels of a server: its main run, and its control run while it lasts. */
  #runsOf(server: LiveServer): Run[] {
    const { main, control } = server
    const ended = control?.whole ?? null
    if (main.whole !== null && (server.verdict === null || server.verdict.control !== ended)) {
      server.verdict = { value: judge(main.whole, ended ?? undefined), control: ended }
    }
    const { recording } = main.growing
    const runs: Run[] = [{ recording, control: ended, verdict: server.verdict?.value ?? judge(recording) }]
    if (control !== null && ended === null) {
      const { recording: small } = control.growing
      const verdict = judge(small)
      runs.push({ recording: small, control: null, verdict: { ...verdict, name: `${verdict.name} (control)` } })
    }
    return runs
  }

  #shown(): Recording[] {
    return [...this.#servers.values()].map(({ main }) => ({ ...main.growing.recording, complete: true }))
  }

  #lead(): string {
    const header = this.#current?.growing.header
    if (header === undefined) return 'The first server is being started.'
    return `Recorded since ${day(header.startedAt)}. ${header.kernel}, ${machine(header.machine)}.`
  }

  #status(): string {
    const header = this.#current?.growing.header
    if (header === undefined) return 'Starting'
    const { name, role, run, pid } = header
    const which = run === undefined ? '' : `, run ${run.index} of ${run.of}`
    return `Recording ${clean(name)}${role === 'control' ? ' (control)' : ''}${which}, process ${pid}`
  }

  #texts(): Record<string, string> {
    const run = this.#current
    const last = run?.growing.last
    if (run === null || last === undefined) return { phase: '' }
    const { growing, pulses } = run
    return {
      phase: pulses === null ? '' : phaseOf(growing, pulses),
      'now-time': duration(last.t),
      'now-anonymous': megabytes(last.anonymous),
      'now-peak': megabytes(growing.peak),
      'now-resident': megabytes(last.resident),
      'now-descriptors': last.descriptors === null ? '-' : integer(last.descriptors),
      'now-cpu': growing.load === null ? '-' : `${(growing.load * 100).toFixed(0)} %`
    }
  }
}
