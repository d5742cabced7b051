# SPDX-License-Identifier: Apache-2.0
"""The looping calls of oslo.service, under the same names; calls at a fixed interval do not drift."""

from __future__ import annotations

from oslo_service.loopingcall import BackOffLoopingCall as BackOffLoopingCall
from oslo_service.loopingcall import FixedIntervalWithTimeoutLoopingCall as FixedIntervalWithTimeoutLoopingCall
from oslo_service.loopingcall import LoopingCallBase as LoopingCallBase
from oslo_service.loopingcall import LoopingCallDone as LoopingCallDone
from oslo_service.loopingcall import LoopingCallTimeOut as LoopingCallTimeOut
from oslo_service.loopingcall import RetryDecorator as RetryDecorator

from l3agent.service.timers import DynamicTimer as DynamicLoopingCall
from l3agent.service.timers import Timer as FixedIntervalLoopingCall

__all__ = [
    "BackOffLoopingCall",
    "DynamicLoopingCall",
    "FixedIntervalLoopingCall",
    "FixedIntervalWithTimeoutLoopingCall",
    "LoopingCallBase",
    "LoopingCallDone",
    "LoopingCallTimeOut",
    "RetryDecorator",
]
