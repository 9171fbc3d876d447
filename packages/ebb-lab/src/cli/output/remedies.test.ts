/** What to do about failures, for this machine's clients, for agents, and for one of several servers. */
import { expect, test } from 'vitest'
import { remedies, remedyOfNothing } from './remedies.js'

const NOTHING = { failed: {}, lost: {}, unanswered: {} }

test.each(['EADDRNOTAVAIL', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EWORKERLOST'])(
  '%s of a swarm is said of its agents, which have the options for connecting',
  (cause) => {
    const [here] = remedies({ ...NOTHING, failed: { [cause]: 1234 } })
    const [there] = remedies({ ...NOTHING, failed: { [cause]: 1234 }, swarm: {} })
    expect(here).toMatch(new RegExp(`^1,234 connects failed with ${cause}: `))
    expect(here).not.toContain('an agent')
    expect(there).toMatch(new RegExp(`^1,234 connects failed with ${cause}: .*an agent`))
    expect(remedyOfNothing(cause, true)).toContain('an agent')
    expect(remedyOfNothing(cause)).not.toContain('an agent')
  }
)

test('of several servers, the one that accepted nothing is named, and its failures are not counted twice', () => {
  const targets = [
    { target: 'a:1', connected: 9, failed: { ECONNREFUSED: 1 } },
    { target: 'b:1', connected: 0, failed: { ECONNREFUSED: 10 } }
  ]
  expect(remedies({ ...NOTHING, failed: { ECONNREFUSED: 11 }, targets })).toEqual([
    expect.stringMatching(
      /^nothing connected to b:1 \(ECONNREFUSED\): no process listens there: start the server first/
    ),
    expect.stringMatching(/^1 connects failed with ECONNREFUSED: the server stopped listening for a time/)
  ])
  expect(remedies(NOTHING)).toEqual([])
})
