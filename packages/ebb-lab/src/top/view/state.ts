/** What a person sees and has chosen, and how keys change it. */
import type { Row, SortKey, View } from './rows.js'
import { SORT_KEYS } from './rows.js'

/** The state of the view between two keys. */
export interface State {
  view: View
  /** Id of the selected row; null if there is none. */
  selected: string | null
  /** Number of rows above the first that is shown. */
  offset: number
  /** `filter`: keys are typed into the filter. `help`: the help is shown. */
  mode: 'list' | 'filter' | 'help'
  /** The filter before it is edited, to go back to. */
  oldFilter: string
  /** Whether new samples are not shown. */
  paused: boolean
  /** URL of the live page; null without a page. */
  page: string | null
}

/** What the program has to do besides drawing. */
export type Action = 'quit' | 'interrupt' | 'suspend' | 'redraw'

/** Returns the state at the start. */
export function initialState(view: View, page: string | null = null): State {
  return { view, selected: null, offset: 0, mode: 'list', oldFilter: '', paused: false, page }
}

/**
 * Returns the state after a key, and what to do.
 *
 * @param key a character, or a name such as `UP` and `CTRL_C`
 * @param rows all rows before the key
 * @param page number of rows that are shown at once
 */
export function press(state: State, key: string, rows: readonly Row[], page: number): [State, Action | null] {
  switch (key) {
    case 'CTRL_C':
      return [state, 'interrupt']
    case 'CTRL_Z':
      return [state, 'suspend']
    case 'CTRL_L':
      return [state, 'redraw']
  }
  if (state.mode === 'filter') return [typed(state, key), null]
  if (state.mode === 'help') return [{ ...state, mode: 'list' }, null]
  if (key === 'q') return [state, 'quit']
  return [pressInList(state, key, rows, page), null]
}

function pressInList(state: State, key: string, rows: readonly Row[], page: number): State {
  const { view } = state
  switch (key) {
    case 'UP':
    case 'k':
      return select(state, rows, -1)
    case 'DOWN':
    case 'j':
      return select(state, rows, 1)
    case 'PAGE_UP':
      return select(state, rows, -page)
    case 'PAGE_DOWN':
      return select(state, rows, page)
    case 'HOME':
    case 'g':
      return select(state, rows, -rows.length)
    case 'END':
    case 'G':
      return select(state, rows, rows.length)
    case 'ENTER':
    case 'KP_ENTER':
    case ' ':
      return expand(state, rows)
    case 's':
    case 'RIGHT':
    case '>':
      return sortBy(state, 1)
    case 'LEFT':
    case '<':
      return sortBy(state, -1)
    case 'r':
      return { ...state, view: { ...view, reversed: !view.reversed } }
    case '/':
    case 'f':
      return { ...state, mode: 'filter', oldFilter: view.filter }
    case 'ESCAPE':
      return { ...state, view: { ...view, filter: '' } }
    case 'p':
      return { ...state, paused: !state.paused }
    case 'h':
    case '?':
      return { ...state, mode: 'help' }
    default:
      return state
  }
}

/** Selects another row. Without a selection, the first key selects the first row, or the last if it goes to the end. */
function select(state: State, rows: readonly Row[], by: number): State {
  const at = indexOf(state, rows)
  const from = at === -1 && by < rows.length ? -by : at
  const next = rows[Math.min(rows.length - 1, Math.max(0, from + by))]
  return next === undefined ? state : { ...state, selected: next.id }
}

/** Shows or hides the processes of the selected server, or of the server whose process is selected. */
function expand(state: State, rows: readonly Row[]): State {
  const at = indexOf(state, rows)
  const server = rows.slice(0, at + 1).findLast(({ kind }) => kind === 'server')
  if (server === undefined || server.processes === 1) return state
  const expanded = new Set(state.view.expanded)
  if (!expanded.delete(server.id)) expanded.add(server.id)
  return { ...state, selected: server.id, view: { ...state.view, expanded } }
}

function sortBy(state: State, by: 1 | -1): State {
  const keys: readonly SortKey[] = SORT_KEYS
  const next = keys[(keys.indexOf(state.view.sort) + by + keys.length) % keys.length] ?? state.view.sort
  return { ...state, view: { ...state.view, sort: next, reversed: false } }
}

function typed(state: State, key: string): State {
  const { view, oldFilter } = state
  const change = (filter: string): State => ({ ...state, view: { ...view, filter } })
  switch (key) {
    case 'ENTER':
    case 'KP_ENTER':
      return { ...state, mode: 'list' }
    case 'ESCAPE':
      return { ...change(oldFilter), mode: 'list' }
    case 'BACKSPACE':
      return change([...view.filter].slice(0, -1).join(''))
    case 'CTRL_U':
      return change('')
    default:
      // Other keys with a name are longer than a character.
      return [...key].length === 1 ? change(view.filter + key) : state
  }
}

/** Returns the place of the selected row; -1 if it is not among the rows. */
export function indexOf({ selected }: State, rows: readonly Row[]): number {
  return rows.findIndex(({ id }) => id === selected)
}

/** Returns the state with an offset at which the selected row is shown. */
export function scrolled(state: State, rows: readonly Row[], page: number): State {
  const at = indexOf(state, rows)
  let offset = Math.min(state.offset, Math.max(0, rows.length - page))
  if (at !== -1) offset = Math.min(at, Math.max(offset, at - page + 1))
  return offset === state.offset ? state : { ...state, offset }
}
