/** The terminal: draws lines, reads keys, and restores the terminal. Only this file uses terminal-kit. */
import type { ScreenBuffer, Terminal } from 'terminal-kit'
import type { Look, Size, Span } from './frame.js'

type TerminalKit = typeof import('terminal-kit')

/** What happens at the terminal. */
export interface ScreenEvents {
  /** A character, or the name of a key: `UP`, `CTRL_C`. */
  onKey: (key: string) => void
  onResize: () => void
}

/** Looks with colours, and what takes their place without. */
const LOOKS: Record<Look, { coloured: ScreenBuffer.Attributes; plain: ScreenBuffer.Attributes }> = {
  plain: { coloured: {}, plain: {} },
  heading: { coloured: { bold: true }, plain: { bold: true } },
  titles: { coloured: { color: 'black', bgColor: 'cyan' }, plain: { inverse: true } },
  sorted: { coloured: { color: 'black', bgColor: 'green' }, plain: { inverse: true, underline: true } },
  selected: { coloured: { inverse: true, bold: true }, plain: { inverse: true } },
  process: { coloured: { color: 'cyan' }, plain: {} },
  warning: { coloured: { color: 'yellow', bold: true }, plain: { bold: true } },
  keys: { coloured: { color: 'cyan' }, plain: {} }
}

/** A full-screen view on standard output. */
export class Screen {
  readonly #kit: TerminalKit
  readonly #terminal: Terminal
  readonly #events: ScreenEvents
  readonly #hasColours: boolean
  #buffer: ScreenBuffer | undefined
  #isOpen = false

  /** Loads terminal-kit and takes the terminal. */
  static async open(events: ScreenEvents, hasColours: boolean): Promise<Screen> {
    const { default: kit } = await import('terminal-kit')
    return new Screen(kit, events, hasColours)
  }

  private constructor(kit: TerminalKit, events: ScreenEvents, hasColours: boolean) {
    this.#kit = kit
    this.#terminal = kit.terminal
    this.#events = events
    this.#hasColours = hasColours
    this.#terminal.on('key', this.#onKey)
    this.#terminal.on('resize', this.#onResize)
    // Before the listener that prints the error.
    process.prependListener('uncaughtException', this.leave)
    process.on('exit', this.leave)
    this.enter()
  }

  /** Size of the terminal. */
  get size(): Size {
    const { columns: width = 80, rows: height = 24 } = process.stdout
    return { width, height }
  }

  /** Draws lines. Writes only what has changed since the last time. */
  draw(lines: readonly (readonly Span[])[]): void {
    if (!this.#isOpen) return
    const isNew = this.#buffer === undefined
    this.#buffer ??= new this.#kit.ScreenBuffer({ dst: this.#terminal, ...this.size })
    const buffer = this.#buffer
    buffer.fill({ attr: this.#attributes('plain') })
    for (const [y, line] of lines.entries()) {
      buffer.moveTo(0, y)
      let x = 0
      for (const { text, look } of line) {
        buffer.put({ x, y, attr: this.#attributes(look), wrap: false, dx: 1, dy: 0 }, text)
        x += this.#kit.stringWidth(text)
      }
    }
    buffer.draw({ delta: !isNew })
  }

  /** Takes the terminal: another screen, no cursor, keys without echo. */
  enter(): void {
    if (this.#isOpen) return
    this.#isOpen = true
    this.#buffer = undefined
    this.#terminal.fullscreen(true)
    this.#terminal.hideCursor()
    this.#terminal.grabInput(true)
  }

  /** Restores the terminal. Does nothing if it is restored already. */
  readonly leave = (): void => {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#terminal.grabInput(false)
    this.#terminal.styleReset()
    this.#terminal.hideCursor(false)
    this.#terminal.fullscreen(false)
  }

  /** Makes the next call of {@link draw} draw everything, because another program has written to the terminal. */
  forget(): void {
    this.#buffer = undefined
    this.#terminal.clear()
  }

  /** Restores the terminal for good. */
  close(): void {
    this.leave()
    this.#terminal.off('key', this.#onKey)
    this.#terminal.off('resize', this.#onResize)
    process.off('uncaughtException', this.leave)
    process.off('exit', this.leave)
  }

  readonly #onKey = (key: string): void => this.#events.onKey(key)

  readonly #onResize = (): void => {
    if (!this.#isOpen) return
    this.forget()
    this.#events.onResize()
  }

  #attributes(look: Look): ScreenBuffer.Attributes {
    const { coloured, plain } = LOOKS[look]
    // A copy, because terminal-kit writes into what it gets.
    return { color: 'default', bgColor: 'default', ...(this.#hasColours ? coloured : plain) }
  }
}
