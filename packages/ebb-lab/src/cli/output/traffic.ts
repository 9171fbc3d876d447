/** Rows of a result that tell what connections sent and received. */
import { total } from '../../pulse/causes.js'
import { hasTraffic, type Traffic } from '../../pulse/traffic.js'
import { causes } from './causes.js'

/** Returns the rows; none if nothing was sent or received. */
export function trafficRows(traffic: Traffic): [string, string][] {
  const { sent, answered, received, pings, pongs, late, statuses, resumed } = traffic
  if (!hasTraffic(traffic)) return []
  const rows: [string, string][] = []
  if (sent > 0) rows.push(['sent', String(sent)])
  if (answered > 0 || total(statuses) > 0) rows.push(['answered', String(answered)])
  if (total(statuses) > 0) rows.push(['HTTP status', causes(statuses)])
  if (received > 0) rows.push(['received', String(received)])
  if (pings > 0) rows.push(['pings', `${pings}, ${pongs} answered`])
  if (late > 0) rows.push(['not sent', `${late}: the answer before was still awaited`])
  if (resumed > 0) rows.push(['TLS resumed', String(resumed)])
  return rows
}
