"""The words of the officer's screens, English and Chinese side by side.

Rules: one entry a thing, both languages in it, so that none is forgotten; "lock" and "unlock" for the starter
inhibit. Nothing here comes from a server.

Example:
    >>> FIELDS[15]["en"], FIELDS[15]["zh"]
    ('lease', '租期')
"""

from collections.abc import Mapping
from typing import Final

from protocol.orders import Code, OrderType, State

LANGUAGES: Final = ("en", "zh")

Words = Mapping[str, str]


def _both(en: str, zh: str) -> Words:
    return {"en": en, "zh": zh}


FIELDS: Final[Mapping[int, Words]] = {
    1: _both("form version", "格式版本"),
    2: _both("order id", "命令编号"),
    3: _both("type", "类型"),
    4: _both("lender", "出借方"),
    5: _both("car's controller (mcu_id)", "车载控制器 (mcu_id)"),
    6: _both("bound VIN (hash)", "绑定的车架号 (哈希)"),
    7: _both("contract (commitment)", "合同 (承诺值)"),
    8: _both("epoch", "纪元"),
    9: _both("counter", "计数器"),
    10: _both("written", "签发时间"),
    11: _both("not before", "不早于"),
    12: _both("order ends", "命令截止"),
    13: _both("car's challenge", "车辆挑战码"),
    14: _both("last tick", "最后计时点"),
    15: _both("lease", "租期"),
    16: _both("reason", "理由"),
    17: _both("basis (hash)", "依据 (哈希)"),
    18: _both("jurisdiction", "司法辖区"),
    19: _both("conditions beyond the car's own", "在车辆自身条件之外"),
    20: _both("warning in the car: lead, pattern", "车内警告：提前时间，模式"),
    21: _both("last order accepted (hash)", "上一条已接受命令 (哈希)"),
    22: _both("supersedes / cancels", "取代 / 取消"),
    23: _both("emergency: codes; window", "应急：次数；时长"),
    24: _both("episode", "事件编号"),
    26: _both("sections to release: chain: from – to, section", "释放的数据段：链：起 – 止，段"),
}

PRE_FIELDS: Final[Mapping[int, Words]] = {
    1: _both("speed at most, km/h", "最高车速 km/h"),
    2: _both("at rest, s", "静止秒数"),
    3: _both("ignition off, s", "熄火秒数"),
    4: _both("sources that agree", "一致的信号源数"),
    5: _both("zone set", "区域集版本"),
    6: _both("minutes of the day", "当日分钟"),
    7: _both("outside air, °C", "室外温度 °C"),
    8: _both("GNSS uncertainty at most, m", "定位误差上限 m"),
}

TYPE_WORDS: Final[Mapping[OrderType, Words]] = {
    OrderType.LOCK: _both("lock", "锁车"),
    OrderType.UNLOCK: _both("unlock", "解锁"),
    OrderType.RENEW: _both("renew the lock", "续锁"),
    OrderType.CANCEL: _both("cancel", "取消"),
    OrderType.WARN: _both("warn", "警告"),
    OrderType.QUERY: _both("query", "查询"),
    OrderType.DECOMMISSION: _both("decommission", "退役"),
    OrderType.TRACE: _both("release trace sections", "释放轨迹数据"),
}

HEADLINES: Final[Mapping[OrderType, Words]] = {
    OrderType.LOCK: _both(
        "LOCK: inhibit the car's next start, for at most {hold} from then. Good until {until}. "
        "The driver is warned {lead} ahead and keeps an emergency window of {window}.",
        "锁车：禁止该车下一次启动，自锁定起最长 {hold}。命令有效至 {until}。提前 {lead} 警告驾驶人，并保留 {window} 应急时长。",
    ),
    OrderType.RENEW: _both(
        "RENEW: keep the car locked, for {hold} more and never beyond 7 days from locking. Good until {until}.",
        "续锁：继续锁定 {hold}，自锁定起绝不超过 7 天。命令有效至 {until}。",
    ),
    OrderType.WARN: _both(
        "WARN: tell the driver at each ignition that a lock is coming, {lead} ahead. Good until {until}.",
        "警告：每次点火时告知驾驶人即将锁车，提前 {lead}。命令有效至 {until}。",
    ),
    OrderType.UNLOCK: _both(
        "UNLOCK: release the car at once. One signature is enough, and it never expires.",
        "解锁：立即释放车辆。一个签名即可，永不过期。",
    ),
    OrderType.CANCEL: _both(
        "CANCEL: take the open order back before it acts. One signature is enough, and it never expires.",
        "取消：在命令生效前撤回。一个签名即可，永不过期。",
    ),
    OrderType.QUERY: _both(
        "QUERY: ask the car how it stands. Changes nothing.", "查询：询问车辆状态，不作任何改变。"
    ),
    OrderType.DECOMMISSION: _both(
        "DECOMMISSION: the loan is over; the car never again accepts a restricting order. This cannot be undone.",
        "退役：贷款结束，该车永不再接受限制类命令。不可撤销。",
    ),
    OrderType.TRACE: _both(
        "TRACE: release withheld sections of the trace. Good until {until}.",
        "轨迹：释放被扣留的数据段。命令有效至 {until}。",
    ),
}

REASON_CODES: Final[Mapping[str, Words]] = {
    "ACCOUNT": _both("I looked at the account myself: overdue as stated", "我已亲自核对账户：逾期属实"),
    "NOTICES": _both("I looked at the notices and their delivery myself", "我已亲自核对通知及送达"),
    "BORROWER": _both("I spoke with the borrower, or tried as required", "我已按要求联系借款人"),
    "FILE": _both(
        "I looked at the whole file: account, notices, holds", "我已核对全部档案：账户、通知、限制"
    ),
}
"""The checker's own reason: what he looked at himself, apart from the maker's reason."""

STATES: Final[Mapping[State, Words]] = {
    State.NONE: _both("no order", "无命令"),
    State.RECEIVED: _both("received by the car", "车辆已收到"),
    State.REJECTED: _both("rejected by the car", "被车辆拒绝"),
    State.ACCEPTED_PENDING: _both("accepted; waits for its conditions", "已接受，等待条件"),
    State.WARNING: _both("warning the driver", "正在警告驾驶人"),
    State.ARMED: _both(
        "armed; waits for all conditions together and the gate's word", "已就绪，等待全部条件与闸门许可"
    ),
    State.LOCKED: _both("LOCKED: the next start is inhibited", "已锁定：下次启动被禁止"),
    State.RELEASED: _both("released", "已释放"),
    State.LEASE_EXPIRED: _both("lease over; the car starts", "租期结束，可启动"),
    State.OVERRIDDEN: _both("emergency window in use; the car starts", "应急时长使用中，可启动"),
    State.FAULT_RELEASED: _both("released for a fault; the car starts", "因故障释放，可启动"),
    State.SUPERSEDED: _both("superseded by a newer order", "被新命令取代"),
    State.CANCELLED: _both("cancelled", "已取消"),
    State.EXPIRED: _both("expired without effect", "已过期，未生效"),
    State.DONE: _both("done", "已完成"),
}

WAITS: Final[Mapping[Code, Words]] = {
    Code.IN_MOTION: _both("the car to stand still", "车辆静止"),
    Code.MOTION_DISAGREE: _both("its motion sources to agree", "运动信号一致"),
    Code.SOURCES_INSUFFICIENT: _both("enough sources to be heard", "足够的信号源"),
    Code.IGN_ON: _both("the ignition to be off", "熄火"),
    Code.ENGINE_RUNNING: _both("the engine to stop", "发动机停止"),
    Code.NO_LOCK_ZONE: _both("the car to leave a protected place", "车辆离开受保护地点"),
    Code.ZONE_UNKNOWN: _both("a position", "获得位置"),
    Code.QUIET_HOURS: _both("lawful hours", "法定时段"),
    Code.TEMP_RANGE: _both("a lawful outside temperature", "允许的室外温度"),
    Code.OVERRIDE_ACTIVE: _both("the emergency window to end", "应急时长结束"),
    Code.RATE_LIMIT: _both("seven days since the last lock", "距上次锁定满七天"),
    Code.CRASH_HOLD: _both("72 h since a crash", "事故后满 72 小时"),
    Code.NO_GO: _both("the gate's go token", "闸门许可"),
    Code.NOT_WARNED: _both("the warning to be heard on two ignitions", "两次点火听到警告"),
    Code.HAZARD_LIGHTS: _both("the hazard lights to go out", "危险警示灯关闭"),
    Code.CLOCK_UNCERTAIN: _both("a trusted clock", "可信时钟"),
}
"""What an order waits for, by the code in the car's latest answer."""

BASIS_WORDS: Final[Mapping[str, Words]] = {
    "as_of": _both("loan stood so at", "贷款状态时间"),
    "days": _both("days past due", "逾期天数"),
    "contract_days": _both("the contract asks for", "合同要求"),
    "due": _both("due and unpaid, minor units", "应付未付 (最小货币单位)"),
    "since": _both("since", "自"),
    "pending": _both("payments not posted yet", "未入账付款"),
    "flags": _both("holds", "限制"),
    "last_payment": _both("last payment", "最近付款"),
    "interval": _both("pays", "付款周期"),
    "papers": _both("papers in the file", "档案文件"),
    "revision": _both("account revision, asked for, local time", "账户版本，用途，当地时间"),
    "pack": _both("jurisdiction pack", "辖区规则包"),
    "opinion": _both("counsel's opinion", "法律意见"),
    "none": _both("none", "无"),
    "notice": _both("notice", "通知"),
    "block": _both("hold", "限制"),
    "blockend": _both("end of a hold", "限制解除"),
    "payment": _both("payment", "付款"),
    "warn_flags": _both("The loan has a hold: it must be left alone.", "该贷款有限制，不得处理。"),
    "warn_pending": _both("A payment has arrived that is not posted yet.", "有一笔付款尚未入账。"),
    "warn_current": _both("Nothing is due.", "没有逾期款项。"),
    "warn_old": _both(
        "These facts are older than 15 minutes; the gate asks again.",
        "该信息已超过 15 分钟，闸门会再次查询。",
    ),
}

PAGE_WORDS: Final[Mapping[str, Words]] = {
    "orders": _both("Orders that wait for a checker", "等待复核的命令"),
    "cars": _both("Cars", "车辆"),
    "order": _both("Order", "命令"),
    "car": _both("Car", "车辆"),
    "basis": _both("Basis bundle: file on this machine", "依据文件：本机路径"),
    "kind": _both("Order", "命令类型"),
    "rests": _both("What it rests on", "依据"),
    "reason": _both("What did you check yourself?", "您亲自核对了什么？"),
    "last4": _both("Last 4 characters of the car's VIN or reference", "车架号或编号的后四位"),
    "approve": _both("Sign as checker", "作为复核人签名"),
    "decline": _both("Decline: withdraw the order", "拒绝：撤回命令"),
    "request": _both("Show the order before signing", "签名前查看命令"),
    "sign": _both("Sign as maker", "作为经办人签名"),
    "unlock": _both("Unlock now", "立即解锁"),
    "look": _both("Verify and show", "核验并显示"),
    "nothing": _both("Nothing waits.", "没有等待的命令。"),
    "no_cars": _both("No car is pinned: tbox lender car pin", "没有登记车辆：tbox lender car pin"),
    "refused": _both("Refused", "已拒绝"),
    "done": _both("Done", "完成"),
    "maker": _both("maker (signature and delegation verified)", "经办人 (签名与授权已核验)"),
    "desired": _both("Desired (the server's word)", "期望状态 (服务器所述)"),
    "reported": _both("Reported (signed by the car)", "报告状态 (车辆签名)"),
    "since": _both("since", "自"),
    "waits": _both("waits for", "等待"),
    "none": _both("no order", "无命令"),
}
