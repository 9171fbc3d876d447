/** Results in two columns: a name and what there is to say. */
import { total } from '../../pulse/causes.js'
import type { SwarmReport } from '../../pulse/swarm/report.js'
import { clean } from '../../units/text.js'
import { causes } from './causes.js'

const WIDTH = 17

export function columnsOf(rows: readonly [string, string][]): string {
  return rows.map(([name, value]) => `${name.padEnd(WIDTH - 1)} ${value}`).join('\n')
}

/** Agents of a report that have a row of their own, at most: those in trouble first. */
const ROWS = 20

/** What the agents did, in two columns. */
export function swarmRows(report: SwarmReport): [string, string][] {
  const { agents, spread, error } = report
  const lost = agents.filter(({ gone }) => gone !== null).length
  const rows: [string, string][] = [['agents', `${agents.length}${lost > 0 ? `, ${lost} lost: degraded` : ''}`]]
  if (spread !== null) rows.push(['started within', `${spread.toFixed(1)} ms (± ${(error ?? 0).toFixed(1)} ms)`])
  const trouble = (agent: (typeof agents)[number]): number =>
    total(agent.failed) + total(agent.lost) + total(agent.unanswered) + (agent.gone === null ? 0 : 1)
  const shown = agents.toSorted((a, b) => trouble(b) - trouble(a)).slice(0, ROWS)
  for (const agent of shown) {
    const parts = [`${agent.connected} connected`]
    if (total(agent.failed) > 0) parts.push(`${total(agent.failed)} failed: ${causes(agent.failed)}`)
    if (total(agent.lost) > 0) parts.push(`${total(agent.lost)} lost: ${causes(agent.lost)}`)
    if (total(agent.unanswered) > 0) parts.push(`${total(agent.unanswered)} not answered: ${causes(agent.unanswered)}`)
    if (agent.gone !== null) parts.push(agent.gone)
    rows.push([`  ${clean(agent.name)}`, clean(parts.join('; '))])
  }
  if (agents.length > ROWS) rows.push(['', `and ${agents.length - ROWS} more`])
  return rows
}
