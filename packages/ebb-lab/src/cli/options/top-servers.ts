/** The servers that a person names for `ebb top`: pids, ports and names. */
import type { BoxWatchOptions, ServerNames } from '../../top/watch.js'
import { ValueError } from './values.js'

/** Returns the options of a watch for words such as `4711`, `:3033` and `nginx`. Without words, all servers match. */
export function parseServers(words: readonly string[]): Pick<BoxWatchOptions, 'pids' | 'matches'> {
  if (words.length === 0) return {}
  const pids = words.filter((word) => /^\d+$/.test(word)).map(Number)
  const tests = words.map(testOf)
  return { pids, matches: (server) => tests.some((test) => test(server)) }
}

function testOf(word: string): (server: ServerNames) => boolean {
  if (word.trim() === '') throw new ValueError('a server is a pid (4711), a port (:3033) or a part of its name (nginx)')
  if (/^\d+$/.test(word)) return ({ pids }) => pids.includes(Number(word))
  const port = /^:(\d+)$/.exec(word)?.[1]
  if (port !== undefined) {
    if (Number(port) < 1 || Number(port) > 65_535) throw new ValueError(`${word} is not a port: give :1 to :65535`)
    return ({ listens }) => listens.some((listen) => listen.type === 'tcp' && listen.port === Number(port))
  }
  const text = word.toLowerCase()
  return ({ names, listens }) =>
    [...names, ...listens.map((listen) => (listen.type === 'unix' ? listen.path : ''))].some((name) =>
      name.toLowerCase().includes(text)
    )
}
