/** Shows the servers of a box on a terminal until a person quits. */
import type { BoxSample } from '../sample.js'
import type { Style } from './columns.js'
import { frameOf, pageOf } from './frame.js'
import { type Row, rowsOf, Trends, type View } from './rows.js'
import { Screen } from './screen.js'
import { type Action, initialState, press, type State, scrolled } from './state.js'

/** Options of {@link showBox}. */
export interface ShowOptions extends Style {
  /** Samples to show. They must end soon after `signal` is aborted. */
  samples: (signal: AbortSignal) => AsyncIterable<BoxSample>
  /** What is shown at first. */
  view: View
  colours: boolean
  /** URL of the live page, to show; null without a page. */
  page: string | null
  /** Ends the view. */
  signal: AbortSignal
}

/** Shows samples until a person quits. Returns how it ended. Restores the terminal in any case. */
export async function showBox({
  samples,
  view,
  colours,
  page,
  signal,
  unicode
}: ShowOptions): Promise<'quit' | 'interrupt'> {
  const stop = new AbortController()
  const screen = await Screen.open({ onKey, onResize: draw }, colours)
  const trends = new Trends()
  let state: State = initialState(view, page)
  let shown: BoxSample | undefined
  let isInterrupted = false
  process.on('SIGTSTP', suspend)
  process.on('SIGCONT', goOn)
  try {
    for await (const sample of samples(AbortSignal.any([signal, stop.signal]))) {
      trends.add(sample)
      if (!state.paused || shown === undefined) shown = sample
      draw()
    }
    return isInterrupted || signal.aborted ? 'interrupt' : 'quit'
  } finally {
    process.off('SIGTSTP', suspend)
    process.off('SIGCONT', goOn)
    screen.close()
  }

  function rows(): Row[] {
    return shown === undefined ? [] : rowsOf(shown, state.view, trends)
  }

  function draw(): void {
    if (shown === undefined) return
    const all = rows()
    state = scrolled(state, all, pageOf(screen.size))
    screen.draw(frameOf(shown, all, state, screen.size, { unicode }))
  }

  function onKey(key: string): void {
    const [next, action] = press(state, key, rows(), pageOf(screen.size))
    state = next
    if (action === null) draw()
    else act(action)
  }

  function act(action: Action): void {
    switch (action) {
      case 'quit':
      case 'interrupt':
        isInterrupted = action === 'interrupt'
        stop.abort()
        break
      case 'suspend':
        screen.leave()
        // To the whole job, as the terminal does it: npx waits for this process and has to stop as well.
        process.kill(0, 'SIGTSTP')
        break
      case 'redraw':
        screen.forget()
        draw()
    }
  }

  function suspend(): void {
    screen.leave()
    process.kill(process.pid, 'SIGSTOP')
  }

  function goOn(): void {
    screen.enter()
    draw()
  }
}
