/** Sends a view to all open pages: whole at first, then what has changed. */
import { randomBytes } from 'node:crypto'
import { changesOf } from './changes.js'
import type { EventStream } from './streams.js'
import { type LiveView, type SentView, sentView } from './view.js'

/** Bytes of changes that are kept for pages that reconnect. */
const MOST_KEPT = 1024 * 1024
/** With more bytes waiting for a page, it gets no more changes, and a whole view once it has read them. */
const MOST_QUEUED = 256 * 1024

/** Tells the browser to reconnect after 1 s. */
const RETRY = Buffer.from('retry: 1000\n')

/** A page that is open. */
interface OpenPage {
  stream: EventStream
  /** Whether changes were left out, because the page reads too slowly. */
  isBehind: boolean
}

/** An event that was sent. */
interface Sent {
  number: number
  bytes: Buffer
}

/** Sends views. Each has a number, which the browser sends back when it reconnects (`Last-Event-ID`). */
export class Feed {
  readonly #source: () => LiveView
  readonly #pages = new Set<OpenPage>()
  /** Differs from process to process: numbers of another process mean nothing here. */
  readonly #epoch = randomBytes(6).toString('hex')
  #number = 0
  #shown: LiveView | undefined
  #view: SentView | undefined
  /** The last changes without a gap. A whole view begins it anew. */
  #kept: Sent[] = []
  #keptBytes = 0
  /** The last view as an event, once a page has needed it. */
  #whole: Buffer | undefined

  /** @param source returns what is to be shown now: the same object as the last time if nothing has changed */
  constructor(source: () => LiveView) {
    this.#source = source
  }

  /** Number of open pages. */
  get size(): number {
    return this.#pages.size
  }

  /**
   * Adds a page and sends it what it lacks.
   *
   * @param lastId id of the last event that it got before its connection was lost
   * @returns a function that removes the page
   */
  open(stream: EventStream, lastId: string | undefined): () => void {
    this.update()
    const page = { stream, isBehind: false }
    this.#pages.add(page)
    const missed = this.#missedSince(lastId)
    if (missed === undefined) stream.send(this.#wholeView())
    else for (const { bytes } of missed) stream.send(bytes)
    return () => this.#pages.delete(page)
  }

  /** Finds out what has changed and sends it. */
  update(): void {
    const shown = this.#source()
    const isSame = shown === this.#shown
    this.#shown = shown
    const view = isSame && this.#view !== undefined ? this.#view : sentView(shown)
    const changes = this.#view === undefined ? 'all' : isSame ? null : changesOf(this.#view, view)
    if (changes === null) {
      this.#sendAll(undefined)
      return
    }
    this.#view = view
    this.#whole = undefined
    this.#number++
    if (changes === 'all') {
      this.#kept = []
      this.#keptBytes = 0
      this.#sendAll(this.#pages.size > 0 ? this.#wholeView() : undefined)
    } else {
      const bytes = this.#event('changes', changes)
      this.#keep({ number: this.#number, bytes })
      this.#sendAll(bytes)
    }
  }

  /** Sends bytes that every page ignores, so that the system notices dead connections. */
  probe(): void {
    const bytes = Buffer.from(':\n\n')
    for (const { stream } of this.#pages) if (stream.queued === 0) stream.send(bytes)
  }

  /** Tells all pages that nothing more comes, and closes their streams once they have read everything. */
  async end(patience: number): Promise<void> {
    const bye = Buffer.from('event: end\ndata: {}\n\n')
    for (const { stream } of this.#pages) stream.send(bye)
    const deadline = performance.now() + patience
    while (this.#isWaiting() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20))
    for (const { stream } of [...this.#pages]) stream.close()
    this.#pages.clear()
  }

  #isWaiting(): boolean {
    return [...this.#pages].some(({ stream }) => stream.queued > 0)
  }

  /** Returns the changes that a page has missed; undefined if it needs the whole view. */
  #missedSince(lastId: string | undefined): Sent[] | undefined {
    const [epoch, text = ''] = (lastId ?? '').split('-')
    const last = Number(text)
    if (epoch !== this.#epoch || text === '' || !(last <= this.#number)) return undefined
    const missed = this.#kept.filter(({ number }) => number > last)
    return missed.length === this.#number - last ? missed : undefined
  }

  #keep(sent: Sent): void {
    this.#kept.push(sent)
    this.#keptBytes += sent.bytes.length
    while (this.#keptBytes > MOST_KEPT) this.#keptBytes -= this.#kept.shift()?.bytes.length ?? 0
  }

  #sendAll(bytes: Buffer | undefined): void {
    for (const page of [...this.#pages]) {
      const { stream } = page
      if (page.isBehind) {
        if (stream.queued > 0) continue
        page.isBehind = false
        stream.send(this.#wholeView())
      } else if (bytes !== undefined) {
        if (stream.queued > MOST_QUEUED) page.isBehind = true
        else stream.send(bytes)
      }
    }
  }

  #wholeView(): Buffer {
    this.#whole ??= Buffer.concat([RETRY, this.#event('view', this.#view ?? {})])
    return this.#whole
  }

  /** JSON has no line break outside of strings, and escapes those inside, so it is one line of data. */
  #event(name: string, data: object): Buffer {
    return Buffer.from(`id: ${this.#epoch}-${this.#number}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`)
  }
}
