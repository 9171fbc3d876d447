/** Views of recordings that are finished, for `ebb report --serve`. */
import { boxPage } from '../report/box/html.js'
import type { JudgedBoxes } from '../report/box/report.js'
import { reportPage } from '../report/page/html.js'
import type { JudgedRuns } from '../report/report.js'
import { boxLabels, finishedView, serverLabels } from './finished.js'
import type { LiveView } from './view.js'

/** Returns the view of recordings of servers. */
export function serversView({ runs, comparisons, notes }: JudgedRuns): LiveView {
  const status = runs.length === 1 ? 'A finished recording' : `${runs.length} finished recordings`
  return finishedView(reportPage(runs, notes, comparisons), status, serverLabels(runs))
}

/** Returns the view of recordings of boxes. */
export function boxesView({ judged, headers, notes }: JudgedBoxes): LiveView {
  return finishedView(boxPage(judged, headers[0], notes), 'A finished box', boxLabels(judged))
}
